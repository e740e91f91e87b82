//! Makes secrets as their manifest asks for them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use fedi_engine::drivers::SecretValue;
use fedi_model::manifest::Generator;
use fedi_model::name::SecretName;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use rand::rngs::OsRng;
use rand::{Rng, RngCore};
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::{RsaPrivateKey, RsaPublicKey};
use zeroize::{Zeroize, Zeroizing};

/// Letters and digits that nobody takes for one another.
const READABLE: &[u8] = b"abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// Why a secret could not be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// It is the operator's to set.
    #[error("Only the operator can set it: {describe}")]
    Operator {
        /// What it is.
        describe: String,
    },
    /// It is made of another secret, which is not there yet.
    #[error("It is made of the secret `{of}`, which does not exist")]
    Missing {
        /// The other secret.
        of: SecretName,
    },
    /// The other secret, or the asked size, is of no use.
    #[error("Failed to make a key")]
    Key(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Makes a value for `generator`. `other` gives the secret that it derives from.
pub fn generate(
    generator: &Generator,
    other: impl FnOnce(&SecretName) -> Option<SecretValue>,
) -> Result<SecretValue, GenerateError> {
    let text = match generator {
        Generator::Hex { bytes } => hex(&random(*bytes)),
        Generator::Base64 { bytes } => STANDARD.encode(random(*bytes)),
        Generator::Base64Url { bytes } => URL_SAFE_NO_PAD.encode(random(*bytes)),
        Generator::Password { length } => {
            (0..*length).map(|_| char::from(READABLE[OsRng.gen_range(0..READABLE.len())])).collect()
        }
        Generator::LaravelKey => format!("base64:{}", STANDARD.encode(random(32))),
        Generator::SynapseSigningKey => synapse_signing_key(),
        Generator::Vapid => vapid(),
        Generator::RsaPrivateKey { bits } => rsa_private_key(usize::from(*bits))?,
        Generator::RsaPublicKey { of } => {
            let private = other(of).ok_or_else(|| GenerateError::Missing { of: of.clone() })?;
            rsa_public_key(&private)?
        }
        Generator::GarageKeyId => format!("GK{}", hex(&random(12))),
        Generator::Operator { describe, .. } => {
            return Err(GenerateError::Operator { describe: describe.clone() });
        }
    };
    Ok(SecretValue::new(text.into_bytes()))
}

fn random(bytes: u16) -> Zeroizing<Vec<u8>> {
    let mut buffer = Zeroizing::new(vec![0; usize::from(bytes)]);
    OsRng.fill_bytes(&mut buffer);
    buffer
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// A line as `generate_signing_key` of Synapse writes it
/// (`signedjson.key.write_signing_keys`): algorithm, version `a_` and four letters,
/// unpadded base 64 of the seed.
fn synapse_signing_key() -> String {
    let letters: String = (0..4).map(|_| char::from(OsRng.gen_range(b'a'..=b'z'))).collect();
    format!("ed25519 a_{letters} {}\n", STANDARD_NO_PAD.encode(random(32)))
}

fn vapid() -> String {
    let secret = p256::SecretKey::random(&mut OsRng);
    let mut scalar = secret.to_bytes();
    let private = URL_SAFE_NO_PAD.encode(scalar);
    scalar.zeroize();
    let public = URL_SAFE_NO_PAD.encode(secret.public_key().to_encoded_point(false).as_bytes());
    format!("{private}:{public}")
}

fn rsa_private_key(bits: usize) -> Result<String, GenerateError> {
    let key = RsaPrivateKey::new(&mut OsRng, bits).map_err(|error| GenerateError::Key(error.into()))?;
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|error| GenerateError::Key(error.into()))?;
    Ok(pem.to_string())
}

fn rsa_public_key(private: &SecretValue) -> Result<String, GenerateError> {
    let pem = std::str::from_utf8(private.expose()).map_err(|error| GenerateError::Key(error.into()))?;
    let key = RsaPrivateKey::from_pkcs8_pem(pem).map_err(|error| GenerateError::Key(error.into()))?;
    RsaPublicKey::from(&key).to_public_key_pem(LineEnding::LF).map_err(|error| GenerateError::Key(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(generator: &Generator) -> String {
        let value = generate(generator, |_| None).unwrap();
        String::from_utf8(value.expose().to_vec()).unwrap()
    }

    #[test]
    fn shapes() {
        assert_eq!(text(&Generator::Hex { bytes: 32 }).len(), 64);
        assert_eq!(text(&Generator::Base64 { bytes: 32 }).len(), 44);
        assert_eq!(text(&Generator::Password { length: 20 }).len(), 20);
        assert!(text(&Generator::LaravelKey).starts_with("base64:"));
        let key = text(&Generator::GarageKeyId);
        assert!(key.starts_with("GK") && key.len() == 26, "{key}");
    }

    #[test]
    fn no_two_are_alike() {
        assert_ne!(text(&Generator::Hex { bytes: 16 }), text(&Generator::Hex { bytes: 16 }));
    }

    #[test]
    fn a_signing_key_has_three_words_and_a_seed_of_32_bytes() {
        let line = text(&Generator::SynapseSigningKey);
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words.len(), 3);
        assert_eq!((words[0], &words[1][..2]), ("ed25519", "a_"));
        assert_eq!(STANDARD_NO_PAD.decode(words[2]).unwrap().len(), 32);
    }

    #[test]
    fn a_vapid_pair_fits_together() {
        let pair = text(&Generator::Vapid);
        let (private, public) = pair.split_once(':').unwrap();
        let secret = p256::SecretKey::from_slice(&URL_SAFE_NO_PAD.decode(private).unwrap()).unwrap();
        let point = secret.public_key().to_encoded_point(false);
        assert_eq!(URL_SAFE_NO_PAD.decode(public).unwrap(), point.as_bytes());
    }

    #[test]
    fn a_public_key_is_made_of_its_private_key() {
        let private = generate(&Generator::RsaPrivateKey { bits: 1024 }, |_| None).unwrap();
        let of = SecretName::new("private").unwrap();
        let public = generate(&Generator::RsaPublicKey { of: of.clone() }, |_| Some(private.clone())).unwrap();
        assert!(public.expose().starts_with(b"-----BEGIN PUBLIC KEY-----"));
        let missing = generate(&Generator::RsaPublicKey { of }, |_| None);
        assert!(matches!(missing, Err(GenerateError::Missing { .. })));
    }

    #[test]
    fn what_is_the_operators_is_not_made_up() {
        let generator = Generator::Operator { describe: "the relay's password".to_owned(), optional: false };
        assert!(matches!(generate(&generator, |_| None), Err(GenerateError::Operator { .. })));
    }
}
