//! Whose key evidence must lead to.
//!
//! Vendors' keys are compiled in. Another root exists only with the feature `soft-tee`, for evidence that
//! software made: the checks are the same, and what they prove is that the maker had that root's key.

#[cfg(not(feature = "soft-tee"))]
use std::{convert::Infallible, marker::PhantomData};

/// The root of a TDX quote and its collateral.
#[derive(Debug, Clone, Copy)]
pub enum TdxRoot<'a> {
    Intel,
    /// A root's certificate in DER, with a key on P-256.
    #[cfg(feature = "soft-tee")]
    Software(&'a [u8]),
    #[cfg(not(feature = "soft-tee"))]
    #[doc(hidden)]
    Never(Infallible, PhantomData<&'a [u8]>),
}

/// Who signs the certificates of chips' keys and their revocation list.
#[derive(Debug, Clone, Copy)]
pub enum SnpRoot<'a> {
    Amd,
    /// The certificate, in DER, of an RSA key that signs both.
    #[cfg(feature = "soft-tee")]
    Software(&'a [u8]),
    #[cfg(not(feature = "soft-tee"))]
    #[doc(hidden)]
    Never(Infallible, PhantomData<&'a [u8]>),
}

/// The root of a GPU's certificates.
#[derive(Debug, Clone, Copy)]
pub enum NvidiaRoot<'a> {
    Nvidia,
    /// A root's certificate in DER, with a key on P-384.
    #[cfg(feature = "soft-tee")]
    Software(&'a [u8]),
    #[cfg(not(feature = "soft-tee"))]
    #[doc(hidden)]
    Never(Infallible, PhantomData<&'a [u8]>),
}
