//! Who signs the certificates of chips' keys and their revocation list: AMD, or a key of software.

use ring::signature::RsaPublicKeyComponents;

use crate::verify::SnpRoot;
use crate::verify::certificate::{Certificate, NotInForce, within};
use crate::verify::revocations::Revocations;
use crate::verify::snp::product::Product;

/// The issuer of a chip's key, as its certificate names it; its key is the root's, not the name's.
pub(super) struct Issuer {
    pub(super) product: Product,
    key: RsaPublicKeyComponents<Vec<u8>>,
    dates: (i64, i64),
    serial: Vec<u8>,
    /// Who may sign the revocation list, by name.
    listers: Vec<(String, RsaPublicKeyComponents<Vec<u8>>)>,
}

impl Issuer {
    /// None where the root has no issuer of this name.
    pub(super) fn of(root: SnpRoot<'_>, vcek: &Certificate<'_>) -> Option<Self> {
        let name = vcek.issuer()?;
        match root {
            SnpRoot::Amd => Product::by_issuer(name).map(Self::amd),
            #[cfg(feature = "soft-tee")]
            SnpRoot::Software(der) => {
                let signer = Certificate::read(der).ok()?;
                let key = signer.rsa_key()?;
                (signer.subject() == Some(name)).then(|| Self {
                    product: Product::Genoa,
                    key: clone(&key),
                    dates: signer.dates(),
                    serial: signer.serial().to_vec(),
                    listers: vec![(name.to_owned(), key)],
                })
            }
            #[cfg(not(feature = "soft-tee"))]
            SnpRoot::Never(never, _) => match never {},
        }
    }

    fn amd(product: Product) -> Self {
        let [signer, root] = product.names().map(str::to_owned);
        Self {
            product,
            key: product.key(),
            dates: product.key_validity(),
            serial: product.key_serial().to_vec(),
            // AMD's lists come from the root key; the signing key issued what they would list.
            listers: vec![(root, product.root_key()), (signer, product.key())],
        }
    }

    pub(super) fn signed(&self, vcek: &Certificate<'_>) -> bool {
        vcek.is_signed_by_rsa(&self.key)
    }

    pub(super) fn signed_list(&self, list: &Revocations<'_>) -> bool {
        let by = |(name, key): &(String, _)| {
            list.issuer() == Some(name.as_str()) && list.is_signed_by_rsa(key)
        };
        self.listers.iter().any(by)
    }

    /// Whether the list names the chip's certificate or its issuer's own.
    pub(super) fn is_revoked(&self, list: &Revocations<'_>, vcek: &Certificate<'_>) -> bool {
        list.lists(vcek.serial()) || list.lists(&self.serial)
    }

    pub(super) fn in_force(&self, at: i64) -> Result<(), NotInForce> {
        within(at, self.dates.0, self.dates.1)
    }
}

#[cfg(feature = "soft-tee")]
fn clone(key: &RsaPublicKeyComponents<Vec<u8>>) -> RsaPublicKeyComponents<Vec<u8>> {
    RsaPublicKeyComponents { n: key.n.clone(), e: key.e.clone() }
}
