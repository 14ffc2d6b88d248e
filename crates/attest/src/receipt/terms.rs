//! What a request pays and to whom: fixed by the gateway before a worker starts.

use cocoon_primitives::{Nano, Timestamp, TokenPrice, WalletAddress};

use crate::cbor::{CborError, Decoder, Encoder};

/// Bytes in encoded terms at most.
pub(crate) const TERMS_BYTES_MAX: usize = 512;

/// Prices in nano-coins per million tokens, frozen for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceRow {
    pub prompt: TokenPrice,
    pub cached: TokenPrice,
    pub completion: TokenPrice,
}

/// The money side of one request, as the worker signs it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Hides the payer from the worker: see [`super::pay_commitment`].
    pub pay_commit: [u8; 32],
    pub price: PriceRow,
    /// Version of the registry that the price comes from; 0 before there is one.
    pub registry_version: u64,
    /// Who earns the worker's share.
    pub payee: WalletAddress,
    /// The gateway's share in basis points, at most 10,000.
    pub commission_bp: u16,
    pub max_prompt_tokens: u64,
    /// All choices, reasoning included.
    pub max_completion_tokens: u64,
    /// After this moment the request must not start.
    pub not_after: Timestamp,
}

impl Terms {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.map(8);
        out.unsigned(1).bytes(&self.pay_commit);
        out.unsigned(2).array(3);
        for price in [self.price.prompt, self.price.cached, self.price.completion] {
            out.unsigned(price.nano_per_million().get());
        }
        out.unsigned(3).unsigned(self.registry_version);
        out.unsigned(4).bytes(&self.payee.to_bytes());
        out.unsigned(5).unsigned(u64::from(self.commission_bp));
        out.unsigned(6).unsigned(self.max_prompt_tokens);
        out.unsigned(7).unsigned(self.max_completion_tokens);
        out.unsigned(8).unsigned(self.not_after.as_millis());
        out.into_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Decoder::new(bytes);
        let terms = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(terms)
    }

    fn read(reader: &mut Decoder<'_>) -> Result<Self, CborError> {
        reader.map(8)?;
        let pay_commit = reader.key(1)?.bytes_exact()?;
        if reader.key(2)?.array(3)? != 3 {
            return Err(CborError::Range);
        }
        let mut price = || {
            let nano = Nano::new(reader.unsigned()?).ok_or(CborError::Range)?;
            Ok::<_, CborError>(TokenPrice::per_million(nano))
        };
        let price = PriceRow { prompt: price()?, cached: price()?, completion: price()? };
        let registry_version = reader.key(3)?.unsigned()?;
        let payee = WalletAddress::from_bytes(&reader.key(4)?.bytes_exact()?);
        let commission_bp =
            u16::try_from(reader.key(5)?.unsigned()?).map_err(|_| CborError::Range)?;
        if commission_bp > 10_000 {
            return Err(CborError::Range);
        }
        Ok(Self {
            pay_commit,
            price,
            registry_version,
            payee,
            commission_bp,
            max_prompt_tokens: reader.key(6)?.unsigned()?,
            max_completion_tokens: reader.key(7)?.unsigned()?,
            not_after: Timestamp::from_millis(reader.key(8)?.unsigned()?),
        })
    }
}
