//! What the certificate of a chip's key (VCEK) says of the chip.
//!
//! Source: AMD publication 57230, "Versioned Chip Endorsement Key Certificate and KDS Interface
//! Specification", the extensions under 1.3.6.1.4.1.3704.1.

use crate::verify::certificate::Certificate;
use crate::verify::snp::product::Product;

/// The security version numbers that the key was derived for, in the order of the bytes of a
/// report's TCB version. None where an extension is missing or not one byte.
pub(super) fn tcb(certificate: &Certificate<'_>, product: Product) -> Option<[u8; 8]> {
    let svn = |arc: u8| {
        let value = certificate.extension(&format!("1.3.6.1.4.1.3704.1.3.{arc}"))?;
        small_integer(value)
    };
    match product {
        // Boot loader, TEE, four reserved, SNP, microcode.
        Product::Milan | Product::Genoa => {
            Some([svn(1)?, svn(2)?, svn(4)?, svn(5)?, svn(6)?, svn(7)?, svn(3)?, svn(8)?])
        }
        // FMC, boot loader, TEE, SNP, three reserved, microcode.
        Product::Turin => Some([svn(9)?, svn(1)?, svn(2)?, svn(3)?, 0, 0, 0, svn(8)?]),
    }
}

/// Whether the key is that chip's. Turin's identifiers have eight bytes, and the report fills up
/// with zeros.
pub(super) fn is_of_chip(
    certificate: &Certificate<'_>,
    product: Product,
    chip_id: &[u8; 64],
) -> bool {
    let length = if product == Product::Turin { 8 } else { 64 };
    let (id, rest) = chip_id.split_at(length);
    let masked = chip_id.iter().all(|byte| *byte == 0);
    !masked
        && rest.iter().all(|byte| *byte == 0)
        && certificate.extension("1.3.6.1.4.1.3704.1.4") == Some(id)
}

/// A DER integer from 0 to 255, in its one encoding.
fn small_integer(der: &[u8]) -> Option<u8> {
    match *der {
        [2, 1, value @ 0..=0x7f] | [2, 2, 0, value @ 0x80..=0xff] => Some(value),
        _ => None,
    }
}
