//! The keys that an issuer publishes (JWKS, RFC 7517), and whether one of them has signed something (JWS, RFC 7515).
//!
//! The cryptography is that which signs the tile log; what stands here is which of it a key is for (RFC 7518, RFC 8037).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::Algorithm;
use serde_json::Value;

/// An issuer has two or three; more than this are somebody else's.
const KEYS_MAX: usize = 64;
/// Bytes of a coordinate, and of a key of Ed25519.
const POINT: usize = 32;
/// Bytes of a modulus: 2,048 bits are the least that are believed.
const MODULUS_MIN: usize = 256;
/// Before the coordinates of a point that is written out (SEC 1).
const UNCOMPRESSED: u8 = 4;

/// Keys of algorithms that are believed.
pub struct Keys(Vec<Key>);

pub(crate) struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

/// Why a text holds no keys that are of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoKeys(pub String);

impl Keys {
    /// Reads a set of keys. Keys of other kinds, for other uses and of algorithms that are not believed are left out, as are
    /// secrets: they verify nothing here.
    ///
    /// # Errors
    /// Why there is none left.
    pub fn parse(text: &[u8], algorithms: &[Algorithm]) -> Result<Self, NoKeys> {
        let set: Value = serde_json::from_slice(text).map_err(|error| NoKeys(format!("it is no JSON: {error}")))?;
        let all = set.get("keys").and_then(Value::as_array);
        let all = all.ok_or_else(|| NoKeys("it is no set of keys: there is no \"keys\" in it".into()))?;
        if KEYS_MAX < all.len() {
            return Err(NoKeys(format!("there are {} keys in it, and {KEYS_MAX} are looked at", all.len())));
        }
        let keys: Vec<_> =
            all.iter().filter_map(Key::parse).filter(|key| algorithms.contains(&key.algorithm)).collect();
        if keys.is_empty() {
            let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.as_str()).collect();
            return Err(NoKeys(format!("none of its {} keys is for signatures by {}", all.len(), names.join(", "))));
        }
        Ok(Self(keys))
    }

    /// Those that a token of this key id and algorithm may be signed with. Without an id there must be no choice.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<&Key> {
        let fits = |key: &&Key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id);
        let found: Vec<_> = self.0.iter().filter(fits).collect();
        if id.is_none() && 1 < found.len() { Vec::new() } else { found }
    }

    /// Whether there is a key of this id, for whatever algorithm.
    pub(crate) fn has(&self, id: Option<&str>) -> bool {
        id.is_some_and(|id| self.0.iter().any(|key| key.id.as_deref() == Some(id)))
    }
}

impl Key {
    fn parse(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let fixed = |name: &str| bytes(name).filter(|bytes| bytes.len() == POINT);
        // A number may be written with zeros before it, also where it should not be.
        let number = |name: &str| {
            let bytes = bytes(name)?;
            let first = bytes.iter().position(|byte| *byte != 0)?;
            Some(bytes[first..].to_vec())
        };
        let (algorithm, key) = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let n = number("n").filter(|n| MODULUS_MIN <= n.len())?;
                // An even one is none, and with 1 everybody signs.
                let e = number("e").filter(|e| e.last().is_some_and(|last| last % 2 == 1) && e[..] != [1])?;
                let parts = RsaPublicKeyComponents { n, e };
                (Algorithm::Rs256, parts.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?)
            }
            ("EC", Some("P-256")) => {
                let point = [vec![UNCOMPRESSED], fixed("x")?, fixed("y")?].concat();
                (Algorithm::Es256, ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?)
            }
            ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, ParsedPublicKey::new(&ED25519, fixed("x")?).ok()?),
            _ => return None,
        };
        // What is said of its use must be this one; a word in a form that is not known is not.
        let said = |name: &str, is_so: &dyn Fn(&Value) -> bool| value.get(name).is_none_or(is_so);
        let verifies = |all: &Value| all.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"));
        let fits = said("use", &|usage| usage == "sig")
            && said("key_ops", &verifies)
            && said("alg", &|named| named == algorithm.as_str())
            && said("kid", &Value::is_string);
        fits.then(|| Self { id: text("kid").map(str::to_owned), algorithm, key })
    }

    /// Whether the third part of the token is this key's signature of the first two.
    pub(crate) fn has_signed(&self, token: &str) -> bool {
        let Some((signed, signature)) = token.rsplit_once('.') else { return false };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        self.key.verify_sig(signed.as_bytes(), &signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What others have signed, with other programs: the examples of RFC 7515 (A.2, A.3) and RFC 8037 (A.2, A.4).
    #[test]
    fn signatures_of_the_standards_are_right() {
        let payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let modulus = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-\
                       yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-\
                       KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_\
                       h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
        let by_rsa = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9\
                      uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB\
                      _eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5\
                      AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        let x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
        let y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
        let by_curve = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let edwards = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let by_edwards = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        for (row, key, token) in [
            (
                "RS256",
                json!({ "kty": "RSA", "n": modulus, "e": "AQAB" }),
                format!("eyJhbGciOiJSUzI1NiJ9.{payload}.{by_rsa}"),
            ),
            (
                "RS256, zeros before the numbers",
                json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode([&[0], &URL_SAFE_NO_PAD.decode(modulus).unwrap()[..]].concat()), "e": "AAEAAQ" }),
                format!("eyJhbGciOiJSUzI1NiJ9.{payload}.{by_rsa}"),
            ),
            (
                "ES256",
                json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }),
                format!("eyJhbGciOiJFUzI1NiJ9.{payload}.{by_curve}"),
            ),
            (
                "EdDSA",
                json!({ "kty": "OKP", "crv": "Ed25519", "x": edwards }),
                format!("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.{by_edwards}"),
            ),
        ] {
            let key = Key::parse(&key).expect(row);
            assert!(key.has_signed(&token), "{row}");
            assert!(!key.has_signed(&token.replacen("eyJ", "eyK", 1)), "{row}: another header");
        }
        // A point that lies on no curve, a modulus that is too short, and numbers that are none.
        for (row, key) in [
            ("no point", json!({ "kty": "EC", "crv": "P-256", "x": y, "y": x })),
            ("half a point", json!({ "kty": "EC", "crv": "P-256", "x": x, "y": "AQAB" })),
            ("another curve", json!({ "kty": "EC", "crv": "P-384", "x": x, "y": y })),
            ("a short modulus", json!({ "kty": "RSA", "n": &modulus[..340], "e": "AQAB" })),
            ("no exponent", json!({ "kty": "RSA", "n": modulus, "e": "AA" })),
            ("an exponent of one", json!({ "kty": "RSA", "n": modulus, "e": "AQ" })),
            ("an even exponent", json!({ "kty": "RSA", "n": modulus, "e": "AQAA" })),
            ("no number", json!({ "kty": "OKP", "crv": "Ed25519", "x": 7 })),
            ("for something else", json!({ "kty": "OKP", "crv": "Ed25519", "x": edwards, "use": "enc" })),
            ("that signs only", json!({ "kty": "OKP", "crv": "Ed25519", "x": edwards, "key_ops": ["sign"] })),
            ("of another algorithm", json!({ "kty": "OKP", "crv": "Ed25519", "x": edwards, "alg": "ES256" })),
            ("a name that is none", json!({ "kty": "OKP", "crv": "Ed25519", "x": edwards, "kid": 7 })),
            ("nothing", json!(null)),
        ] {
            assert!(Key::parse(&key).is_none(), "{row}");
        }
    }
}
