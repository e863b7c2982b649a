//! What a client may do, told by its type.
//!
//! ```text
//! Client::connect ──▶ Client<Unauthenticated> ──anonymous──▶ Client<Open> ──close──▶ nothing
//! ```
//! A way to say who one is will stand beside `anonymous`: it takes the same client and gives the same open one.

/// A state of a client's session.
pub trait Session: sealed::Sealed {}

/// Connected; the peer does not know who asks. Nothing can be asked in this state.
#[derive(Clone, Copy, Debug)]
pub struct Unauthenticated;

/// Everything can be asked.
#[derive(Clone, Copy, Debug)]
pub struct Open;

impl Session for Unauthenticated {}
impl Session for Open {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Unauthenticated {}
    impl Sealed for super::Open {}
}
