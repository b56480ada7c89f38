//! The authorities of the self-test and what they issue, each certificate with one defect at most.

use ring::error::Unspecified;

use crate::cli::der::{element, sequence};
use crate::cli::sign::{CLIENTS, NAME_CONSTRAINTS, SERVERS, SHA224, SHA256, UNKNOWN};
use crate::cli::sign::{Draft, Issuer, Key, general};

/// 2014-04-09 and 2015-04-12: those of a certificate that many have tested with.
const LONG_AGO: (u64, u64) = (1_397_001_600, 1_428_796_800);
/// 2100-01-10 and a year later.
const FAR_AHEAD: (u64, u64) = (4_103_222_400, 4_134_758_400);
const DAY: u64 = 86_400;

/// What a server shows, and the key it has.
#[derive(Clone)]
pub(super) struct Identity {
    /// Certificates in DER, leaf first.
    pub(super) chain: Vec<Vec<u8>>,
    /// Its private key, PKCS#8 in DER.
    pub(super) key: Vec<u8>,
}

/// A root, an intermediate below it, and a key for every certificate that the intermediate signs.
pub(super) struct Authority {
    root_name: String,
    intermediate_name: String,
    root_key: Key,
    intermediate_key: Key,
    leaf_key: Key,
    /// The root in DER.
    pub(super) root: Vec<u8>,
    intermediate: Vec<u8>,
    now: u64,
}

impl Authority {
    /// Makes an authority at a time in seconds since 1970.
    pub(super) fn new(name: &str, now: u64) -> Result<Self, Unspecified> {
        let (root_key, intermediate_key) = (Key::new()?, Key::new()?);
        let mut made = Self {
            root_name: format!("{name} root"),
            intermediate_name: format!("{name} intermediate"),
            root_key,
            intermediate_key,
            leaf_key: Key::new()?,
            root: Vec::new(),
            intermediate: Vec::new(),
            now,
        };
        let root = made.ca(&made.root_name, None);
        made.root = root.sign(&made.root_key, made.root_issuer())?;
        let intermediate = made.ca(&made.intermediate_name, None);
        made.intermediate = made.signed_by_root(&intermediate)?;
        Ok(made)
    }

    fn ca<'a>(&self, subject: &'a str, below: Option<u32>) -> Draft<'a> {
        Draft {
            subject,
            authority: Some(below),
            ..self.draft(&[])
        }
    }

    fn draft<'a>(&self, names: &'a [&'a str]) -> Draft<'a> {
        Draft {
            serial: None,
            subject: names.first().copied().unwrap_or("nameless"),
            names,
            valid: (self.now - 30 * DAY, self.now + 60 * DAY),
            authority: None,
            purpose: SERVERS,
            hash: SHA256,
            extension: None,
        }
    }

    fn root_issuer(&self) -> Issuer<'_> {
        let (name, key) = (self.root_name.as_str(), &self.root_key);
        Issuer { name, key }
    }

    fn intermediate_issuer(&self) -> Issuer<'_> {
        let (name, key) = (self.intermediate_name.as_str(), &self.intermediate_key);
        Issuer { name, key }
    }

    fn signed_by_root(&self, intermediate: &Draft<'_>) -> Result<Vec<u8>, Unspecified> {
        intermediate.sign(&self.intermediate_key, self.root_issuer())
    }

    fn leaf(&self, draft: &Draft<'_>) -> Result<Identity, Unspecified> {
        let leaf = draft.sign(&self.leaf_key, self.intermediate_issuer())?;
        Ok(self.with(vec![leaf, self.intermediate.clone()]))
    }

    fn with(&self, chain: Vec<Vec<u8>>) -> Identity {
        let key = self.leaf_key.pkcs8.clone();
        Identity { chain, key }
    }

    /// A good leaf below an intermediate that is not.
    fn below(&self, names: &[&str], intermediate: &Draft<'_>) -> Result<Identity, Unspecified> {
        let mut identity = self.good(names)?;
        identity.chain.truncate(1);
        identity.chain.push(self.signed_by_root(intermediate)?);
        Ok(identity)
    }

    /// A chain without fault for these names.
    pub(super) fn good(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        self.leaf(&self.draft(names))
    }

    /// A chain whose leaf is valid for so long, in seconds from now.
    pub(super) fn valid(
        &self,
        names: &[&str],
        from: i64,
        until: i64,
    ) -> Result<Identity, Unspecified> {
        let at = |seconds: i64| self.now.saturating_add_signed(seconds);
        self.leaf(&Draft {
            valid: (at(from), at(until)),
            ..self.draft(names)
        })
    }

    /// A leaf that ended on 2015-04-12.
    pub(super) fn expired(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        self.leaf(&Draft {
            valid: LONG_AGO,
            ..self.draft(names)
        })
    }

    /// An intermediate that ended on 2015-04-12.
    pub(super) fn expired_intermediate(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let intermediate = Draft {
            valid: LONG_AGO,
            ..self.ca(&self.intermediate_name, None)
        };
        self.below(names, &intermediate)
    }

    /// A leaf that begins on 2100-01-10.
    pub(super) fn not_yet_valid(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        self.leaf(&Draft {
            valid: FAR_AHEAD,
            ..self.draft(names)
        })
    }

    /// A leaf with a common name and no other.
    pub(super) fn common_name_only(&self, name: &str) -> Result<Identity, Unspecified> {
        self.leaf(&Draft {
            subject: name,
            ..self.draft(&[])
        })
    }

    /// A leaf that may be a client's only.
    pub(super) fn for_clients(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        self.leaf(&Draft {
            purpose: CLIENTS,
            ..self.draft(names)
        })
    }

    /// A CA certificate as the server's own.
    pub(super) fn ca_as_leaf(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        self.leaf(&Draft {
            authority: Some(None),
            ..self.draft(names)
        })
    }

    /// A leaf with a critical extension that nobody knows.
    pub(super) fn critical_extension(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        self.leaf(&Draft {
            extension: Some((UNKNOWN, vec![5, 0])),
            ..self.draft(names)
        })
    }

    /// A leaf that says it is signed with ECDSA over SHA-224.
    pub(super) fn weak_signature(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        self.leaf(&Draft {
            hash: SHA224,
            ..self.draft(names)
        })
    }

    /// A leaf with one bit of its signature turned over.
    pub(super) fn broken_signature(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let mut identity = self.good(names)?;
        if let Some(last) = identity.chain.first_mut().and_then(|leaf| leaf.last_mut()) {
            *last ^= 1;
        }
        Ok(identity)
    }

    /// A leaf cut off after its first bytes.
    pub(super) fn malformed(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let mut identity = self.good(names)?;
        if let Some(leaf) = identity.chain.first_mut() {
            leaf.truncate(100);
        }
        Ok(identity)
    }

    /// A good leaf without the intermediate.
    pub(super) fn without_intermediate(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let mut identity = self.good(names)?;
        identity.chain.truncate(1);
        Ok(identity)
    }

    /// An intermediate that may issue for `elsewhere.test` only.
    pub(super) fn constrained(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let permitted = element(0xa0, &[&sequence(&[&general("elsewhere.test")])]);
        let intermediate = Draft {
            extension: Some((NAME_CONSTRAINTS, sequence(&[&permitted]))),
            ..self.ca(&self.intermediate_name, None)
        };
        self.below(names, &intermediate)
    }

    /// A chain with one CA more than an intermediate allows below itself.
    pub(super) fn too_long(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let first = self.signed_by_root(&self.ca(&self.intermediate_name, Some(0)))?;
        let second = self.ca("second intermediate", None);
        let second = second.sign(&self.leaf_key, self.intermediate_issuer())?;
        let issuer = Issuer {
            name: "second intermediate",
            key: &self.leaf_key,
        };
        let leaf = self.draft(names).sign(&self.leaf_key, issuer)?;
        Ok(self.with(vec![leaf, second, first]))
    }

    /// A leaf issued by another leaf.
    pub(super) fn issued_by_leaf(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let issuer = Issuer {
            name: "not-an-authority.test",
            key: &self.leaf_key,
        };
        let leaf = self.draft(names).sign(&self.leaf_key, issuer)?;
        let parent = self.good(&[issuer.name])?;
        let chain = [vec![leaf], parent.chain].concat();
        Ok(self.with(chain))
    }

    /// A good chain in the hands of somebody who has another key.
    pub(super) fn stolen(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let mut identity = self.good(names)?;
        identity.key = Key::new()?.pkcs8;
        Ok(identity)
    }

    /// The pin of every leaf's key.
    pub(super) fn pin(&self) -> String {
        self.leaf_key.pin()
    }

    /// The root's revocation list, with the intermediate on it or not.
    pub(super) fn root_list(&self, revokes: bool) -> Result<Vec<u8>, Unspecified> {
        let serial = self.ca(&self.intermediate_name, None).serial();
        let revoked: &[u32] = if revokes { &[serial] } else { &[] };
        self.root_issuer()
            .list((self.now - DAY, self.now + DAY), revoked)
    }

    /// The intermediate's revocation list, with the leaf of these names on it if there are any.
    /// The next one is due in so many seconds.
    pub(super) fn intermediate_list(
        &self,
        revoked: &[&str],
        due: i64,
    ) -> Result<Vec<u8>, Unspecified> {
        let serial = self.draft(revoked).serial();
        let revoked: &[u32] = if revoked.is_empty() { &[] } else { &[serial] };
        let next = self.now.saturating_add_signed(due);
        self.intermediate_issuer()
            .list((self.now - DAY, next), revoked)
    }

    /// A leaf that has signed itself, with or without the CA flag that `openssl req -x509` sets.
    pub(super) fn self_signed(&self, names: &[&str], ca: bool) -> Result<Identity, Unspecified> {
        let draft = Draft {
            authority: ca.then_some(None),
            ..self.draft(names)
        };
        let issuer = Issuer {
            name: draft.subject,
            key: &self.leaf_key,
        };
        Ok(self.with(vec![draft.sign(&self.leaf_key, issuer)?]))
    }
}
