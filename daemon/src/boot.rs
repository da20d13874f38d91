//! Which boot of the machine this is: what is bound to a boot, memory or a disk that could be a copy, is told from what is older by it.

use std::fs;

/// Random, made by the kernel at every boot (random(4)); a unit with `ProcSubset=pid` does not see it.
const FILE: &str = "/proc/sys/kernel/random/boot_id";
/// The same from who starts the service: `Environment=SIGNPOST_BOOT_ID=%b` in a unit (systemd.unit(5), specifiers).
const VARIABLE: &str = "SIGNPOST_BOOT_ID";

/// Returns the boot's name; `None`: neither the system nor who started the process says it.
pub fn id() -> Option<[u8; 16]> {
    let read = |text: String| parse(&text);
    fs::read_to_string(FILE).ok().and_then(read).or_else(|| std::env::var(VARIABLE).ok().and_then(read))
}

/// 32 hexadecimal digits, with hyphens or without; not all of them zeros.
fn parse(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.trim().chars().filter(|digit| *digit != '-').collect();
    let is_id = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let id = u128::from_str_radix(&digits, 16).ok().filter(|id| is_id && *id != 0)?;
    Some(id.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_and_systemd_spell_one_boot_in_two_ways() {
        let spelled = ["7f3a9c52-0b1e-4d6a-8c25-1e9b0a4f6d73\n", "7f3a9c520b1e4d6a8c251e9b0a4f6d73"];
        let [kernel, systemd] = spelled.map(|text| parse(text).unwrap());
        assert_eq!(kernel, systemd);
        assert_eq!((kernel[0], kernel[15]), (0x7f, 0x73));
    }

    #[test]
    fn what_is_no_boot_is_none() {
        let long = "0".repeat(31) + "11";
        for text in
            ["", "-", "%b", "+f3a9c520b1e4d6a8c251e9b0a4f6d73", &"0".repeat(32), &"1".repeat(31), &long]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn this_machine_says_which_boot_it_is() {
        assert!(id().is_some() && id() == id());
    }
}
