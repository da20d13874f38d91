//! OpenSSL's question for a ticket key, answered from [`Tickets`]: the one place of the proxy that calls OpenSSL without a safe
//! wrapper, since there is none for this.
//!
//! SSL_CTX_set_tlsext_ticket_key_evp_cb(3) of OpenSSL 3.0. Nothing here panics: it would end the process.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_long, c_uchar};
use std::sync::{Arc, OnceLock};

use foreign_types::ForeignTypeRef;
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtxRef;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::rand::rand_bytes;
use openssl::ssl::{SslContext, SslContextBuilder, SslRef, SslVersion};
use openssl_sys as ffi;

use super::{NAME_BYTES, TicketKey, Tickets};

/// Bytes of an initialization vector of AES in CBC mode.
const IV_BYTES: usize = 16;

/// What the callback answers, as the manual page has it.
mod verdict {
    use std::ffi::c_int;

    pub(super) const FAILED: c_int = -1;
    pub(super) const UNKNOWN: c_int = 0;
    pub(super) const GOOD: c_int = 1;
    /// Good, and the visitor gets a new one.
    pub(super) const GOOD_AND_RENEWED: c_int = 2;
}

type Callback = unsafe extern "C" fn(
    *mut ffi::SSL,
    *mut c_uchar,
    *mut c_uchar,
    *mut ffi::EVP_CIPHER_CTX,
    *mut ffi::EVP_MAC_CTX,
    c_int,
) -> c_int;

// Missing in openssl-sys. As declared in openssl/tls1.h, openssl/ssl.h and openssl/params.h of OpenSSL 3.0.
unsafe extern "C" {
    fn SSL_CTX_set_tlsext_ticket_key_evp_cb(context: *mut ffi::SSL_CTX, callback: Option<Callback>) -> c_int;
    fn SSL_CTX_set_timeout(context: *mut ffi::SSL_CTX, seconds: c_long) -> c_long;
    fn OSSL_PARAM_construct_utf8_string(
        key: *const c_char,
        text: *mut c_char,
        bytes: usize,
    ) -> ffi::OSSL_PARAM;
}

/// Where a context keeps its tickets.
fn place() -> Result<Index<SslContext, Arc<Tickets>>, ErrorStack> {
    static PLACE: OnceLock<Index<SslContext, Arc<Tickets>>> = OnceLock::new();
    match PLACE.get() {
        Some(place) => Ok(*place),
        None => {
            let place = SslContext::new_ex_index()?;
            Ok(*PLACE.get_or_init(|| place))
        }
    }
}

/// Has a context encrypt its tickets with these keys and tell visitors to keep them for a period.
pub(in crate::tls) fn install(
    context: &mut SslContextBuilder,
    tickets: &Arc<Tickets>,
) -> Result<(), ErrorStack> {
    context.set_ex_data(place()?, Arc::clone(tickets));
    let seconds = c_long::try_from(tickets.period_s()).unwrap_or(c_long::MAX);
    // SAFETY: the context is alive, and what the callback looks up in it stays there as long as it is.
    unsafe {
        SSL_CTX_set_timeout(context.as_ptr(), seconds);
        if SSL_CTX_set_tlsext_ticket_key_evp_cb(context.as_ptr(), Some(key_for_ticket)) != 1 {
            return Err(ErrorStack::get());
        }
    }
    Ok(())
}

/// Prepares `cipher` and `mac` for a ticket: a new one, whose name and vector are to be filled in, or one that came.
///
/// SAFETY: OpenSSL alone calls this, and promises: `ssl`, `cipher` and `mac` are alive and nobody else's for the time of the call,
/// `name` has [`NAME_BYTES`] bytes and `iv` at least [`IV_BYTES`].
unsafe extern "C" fn key_for_ticket(
    ssl: *mut ffi::SSL,
    name: *mut c_uchar,
    iv: *mut c_uchar,
    cipher: *mut ffi::EVP_CIPHER_CTX,
    mac: *mut ffi::EVP_MAC_CTX,
    is_new: c_int,
) -> c_int {
    // SAFETY: promised above.
    let (ssl, cipher, name, iv) = unsafe {
        (
            SslRef::from_ptr(ssl),
            CipherCtxRef::from_ptr_mut(cipher),
            std::slice::from_raw_parts_mut(name, NAME_BYTES),
            std::slice::from_raw_parts_mut(iv, IV_BYTES),
        )
    };
    let Ok(place) = place() else { return verdict::FAILED };
    let Some(Ok(keys)) = ssl.ssl_context().ex_data(place).map(|tickets| tickets.keys()) else {
        return verdict::FAILED;
    };
    let (key, ready, answer) = if is_new == 1 {
        let key = &keys.current;
        name.copy_from_slice(&key.name);
        let ready = rand_bytes(iv)
            .and_then(|()| cipher.encrypt_init(Some(Cipher::aes_256_cbc()), Some(&key.cipher), Some(iv)));
        (key, ready, verdict::GOOD)
    } else {
        let Some((key, is_other)) = keys.named(name) else { return verdict::UNKNOWN };
        // A ticket of TLS 1.3 is for one use (RFC 8446 §C.4), and one of another period will soon be worth nothing.
        let renewed = is_other || ssl.version2() == Some(SslVersion::TLS1_3);
        let ready = cipher.decrypt_init(Some(Cipher::aes_256_cbc()), Some(&key.cipher), Some(iv));
        (key, ready, if renewed { verdict::GOOD_AND_RENEWED } else { verdict::GOOD })
    };
    // SAFETY: promised above.
    if ready.is_err() || !unsafe { init_mac(mac, key) } {
        return verdict::FAILED;
    }
    answer
}

/// SAFETY: `mac` is alive and nobody else's, and made for HMAC.
unsafe fn init_mac(mac: *mut ffi::EVP_MAC_CTX, key: &TicketKey) -> bool {
    // SAFETY: OpenSSL reads the two constants and does not write through the pointer, although its type would let it; with a
    // length of 0 it counts the characters up to the zero. The parameters and the key live until the call returns.
    unsafe {
        let digest = OSSL_PARAM_construct_utf8_string(c"digest".as_ptr(), c"SHA256".as_ptr().cast_mut(), 0);
        let parameters = [digest, ffi::OSSL_PARAM_construct_end()];
        ffi::EVP_MAC_init(mac, key.mac.as_ptr(), key.mac.len(), parameters.as_ptr()) == 1
    }
}
