-- Random keys for wrk: wrk --script wrk.lua URL -- FILE-OF-CODES. Bare requests: nothing but Host.
local codes, first, last = {}, "GET /", nil

function init(arguments)
  for code in io.lines(arguments[1]) do codes[#codes + 1] = code end
  last = " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port .. "\r\n\r\n"
  math.randomseed(tonumber(tostring({}):match("0x(%x+)"), 16) % 2147483647)
end

function request()
  return first .. codes[math.random(#codes)] .. last
end

function done(summary)
  local errors = summary.errors
  io.write(string.format("requests %d errors %d us %d\n", summary.requests,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout, summary.duration))
end
