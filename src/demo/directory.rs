//! A small LDAP directory in process: what `musterd demo` polls. It answers simple binds, paged searches and the rootDSE
//! over real LDAP, so the whole reading path runs as it does against a real server. It holds its entries in memory and
//! takes no writes over LDAP; who owns the `Directory` changes it with `put` and `remove`.
//!
//! Never a product: loopback only, no TLS, one fixed bind.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt as _, StreamExt as _};
use ldap3_proto::LdapCodec;
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapBindCred, LdapBindResponse, LdapFilter, LdapMsg, LdapOp, LdapPartialAttribute, LdapResult, LdapResultCode,
    LdapSearchRequest, LdapSearchResultEntry, LdapSearchScope,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::codec::Framed;

/// Attribute name, as the schema spells it, and its values.
pub type Attributes = Vec<(String, Vec<String>)>;

/// Entries by DN. The order of the map is the order of answers, so pages are stable.
pub struct Directory {
    pub suffix: String,
    pub bind_dn: String,
    password: String,
    entries: Mutex<BTreeMap<String, Attributes>>,
}

impl Directory {
    pub fn new(suffix: &str, bind_dn: &str, password: &str) -> Arc<Directory> {
        Arc::new(Directory {
            suffix: suffix.to_owned(),
            bind_dn: bind_dn.to_owned(),
            password: password.to_owned(),
            entries: Mutex::default(),
        })
    }

    pub fn put(&self, dn: String, attributes: Attributes) {
        self.entries().insert(dn, attributes);
    }

    pub fn remove(&self, dn: &str) -> Option<Attributes> {
        self.entries().remove(dn)
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Attributes>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens on a free loopback port until the handle is aborted.
    pub async fn serve(self: Arc<Self>) -> io::Result<(SocketAddr, JoinHandle<()>)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().converse(stream));
            }
        });
        Ok((address, task))
    }

    /// One connection, until it unbinds, hangs up, or sends what is no LDAP.
    async fn converse(self: Arc<Self>, stream: TcpStream) {
        let mut link = Framed::new(stream, LdapCodec::default());
        let mut bound = false;
        while let Some(Ok(request)) = link.next().await {
            let id = request.msgid;
            let answers = match request.op {
                LdapOp::BindRequest(bind) => {
                    let (code, message) = self.bind(&bind.dn, &bind.cred);
                    bound = code == LdapResultCode::Success && !bind.dn.is_empty();
                    let response = LdapBindResponse { res: result(code, message), saslcreds: None };
                    vec![LdapMsg::new(id, LdapOp::BindResponse(response))]
                }
                LdapOp::SearchRequest(search) => self.search(id, &search, &request.ctrl, bound),
                LdapOp::UnbindRequest => return,
                LdapOp::AbandonRequest(_) => continue,
                _ => vec![LdapMsg::new(id, done(LdapResultCode::UnwillingToPerform, "this directory is only read"))],
            };
            for answer in answers {
                if link.feed(answer).await.is_err() {
                    return;
                }
            }
            if link.flush().await.is_err() {
                return;
            }
        }
    }

    fn bind(&self, dn: &str, cred: &LdapBindCred) -> (LdapResultCode, &'static str) {
        match cred {
            LdapBindCred::Simple(password) if password.is_empty() && !dn.is_empty() => {
                (LdapResultCode::UnwillingToPerform, "an empty password is no authentication")
            }
            LdapBindCred::Simple(_) if dn.is_empty() => (LdapResultCode::Success, ""),
            LdapBindCred::Simple(password) if dn.eq_ignore_ascii_case(&self.bind_dn) && *password == self.password => {
                (LdapResultCode::Success, "")
            }
            LdapBindCred::Simple(_) => (LdapResultCode::InvalidCredentials, ""),
            _ => (LdapResultCode::AuthMethodNotSupported, "simple binds only"),
        }
    }

    fn search(&self, id: i32, search: &LdapSearchRequest, controls: &[LdapControl], bound: bool) -> Vec<LdapMsg> {
        if search.base.is_empty() && search.scope == LdapSearchScope::Base {
            return vec![LdapMsg::new(id, self.root()), LdapMsg::new(id, done(LdapResultCode::Success, ""))];
        }
        if !bound {
            return vec![LdapMsg::new(id, done(LdapResultCode::InsufficentAccessRights, "bind first"))];
        }
        let base = search.base.to_ascii_lowercase();
        if !base.ends_with(&self.suffix.to_ascii_lowercase()) {
            return vec![LdapMsg::new(id, done(LdapResultCode::NoSuchObject, ""))];
        }
        let page = controls.iter().find_map(|control| match control {
            LdapControl::SimplePagedResults { size, cookie } => Some((*size, cookie)),
            _ => None,
        });
        // The cookie is the last DN that was sent.
        let after = page.map(|(_, cookie)| String::from_utf8_lossy(cookie).into_owned()).unwrap_or_default();
        let limit = page.map_or(usize::MAX, |(size, _)| usize::try_from(size).unwrap_or(0).max(1));
        let entries = self.entries();
        let mut found = entries
            .iter()
            .filter(|(dn, _)| dn.as_str() > after.as_str() && in_scope(dn, &base, &search.scope))
            .filter(|(_, attributes)| matches(&search.filter, attributes))
            .peekable();
        let mut answers = Vec::new();
        let mut last = String::new();
        while answers.len() < limit
            && let Some((dn, attributes)) = found.next()
        {
            last.clone_from(dn);
            answers.push(LdapMsg::new(id, LdapOp::SearchResultEntry(shown(dn, attributes, &search.attrs))));
        }
        let more = found.peek().is_some();
        let controls = page.map(|_| LdapControl::SimplePagedResults {
            size: 0,
            cookie: if more { last.into_bytes() } else { Vec::new() },
        });
        answers.push(LdapMsg::new_with_ctrls(id, done(LdapResultCode::Success, ""), controls.into_iter().collect()));
        answers
    }

    fn root(&self) -> LdapOp {
        let values = [
            ("namingContexts", self.suffix.as_str()),
            ("supportedLDAPVersion", "3"),
            ("supportedControl", "1.2.840.113556.1.4.319"),
            ("vendorName", "musterd demo"),
        ];
        let attributes = values.map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
        LdapOp::SearchResultEntry(shown("", &attributes, &[]))
    }
}

fn result(code: LdapResultCode, message: &str) -> LdapResult {
    LdapResult { code, matcheddn: String::new(), message: message.to_owned(), referral: Vec::new() }
}

fn done(code: LdapResultCode, message: &str) -> LdapOp {
    LdapOp::SearchResultDone(result(code, message))
}

fn in_scope(dn: &str, base: &str, scope: &LdapSearchScope) -> bool {
    let dn = dn.to_ascii_lowercase();
    let Some(above) = dn.strip_suffix(base) else { return false };
    match scope {
        LdapSearchScope::Base => above.is_empty(),
        LdapSearchScope::OneLevel => above.ends_with(',') && !above[..above.len() - 1].contains(','),
        LdapSearchScope::Subtree => above.is_empty() || above.ends_with(','),
        LdapSearchScope::Children => above.ends_with(','),
    }
}

/// RFC 4511 §4.5.1.7, with every attribute case-insensitive.
fn matches(filter: &LdapFilter, attributes: &Attributes) -> bool {
    let any = |name: &str, test: &dyn Fn(&str) -> bool| {
        attributes.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name)).flat_map(|(_, v)| v).any(|v| test(v))
    };
    match filter {
        LdapFilter::And(all) => all.iter().all(|part| matches(part, attributes)),
        LdapFilter::Or(some) => some.iter().any(|part| matches(part, attributes)),
        LdapFilter::Not(part) => !matches(part, attributes),
        LdapFilter::Equality(name, value) | LdapFilter::Approx(name, value) => {
            any(name, &|have| have.eq_ignore_ascii_case(value))
        }
        LdapFilter::Present(name) => any(name, &|_| true),
        LdapFilter::GreaterOrEqual(name, value) => any(name, &|have| have >= value.as_str()),
        LdapFilter::LessOrEqual(name, value) => any(name, &|have| have <= value.as_str()),
        LdapFilter::Substring(name, parts) => any(name, &|have| {
            let mut rest = have.to_ascii_lowercase();
            let mut take = |part: &str, at_start: bool, at_end: bool| {
                let part = part.to_ascii_lowercase();
                let found = if at_start {
                    rest.starts_with(&part).then_some(0)
                } else if at_end {
                    rest.ends_with(&part).then(|| rest.len() - part.len())
                } else {
                    rest.find(&part)
                };
                found.inspect(|at| rest = rest[at + part.len()..].to_owned()).is_some()
            };
            parts.initial.as_deref().is_none_or(|part| take(part, true, false))
                && parts.any.iter().all(|part| take(part, false, false))
                && parts.final_.as_deref().is_none_or(|part| take(part, false, true))
        }),
        LdapFilter::Extensible(_) => false,
    }
}

/// The entry with the attributes asked for; none or `*` asks for all.
fn shown(dn: &str, attributes: &[(String, Vec<String>)], wanted: &[String]) -> LdapSearchResultEntry {
    let all = wanted.is_empty() || wanted.iter().any(|name| name == "*");
    let attributes = attributes
        .iter()
        .filter(|(name, _)| all || wanted.iter().any(|want| want.eq_ignore_ascii_case(name)))
        .map(|(name, values)| LdapPartialAttribute {
            atype: name.clone(),
            vals: values.iter().map(|value| value.clone().into_bytes()).collect(),
        })
        .collect();
    LdapSearchResultEntry { dn: dn.to_owned(), attributes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect()
    }

    #[test]
    fn filters_select_as_the_standard_says() {
        let eva = entry(&[("objectClass", "inetOrgPerson"), ("uid", "eva.novak"), ("mail", "eva@x.cz")]);
        for (filter, expected) in [
            ("(uid=EVA.novak)", true),
            ("(&(objectclass=inetOrgPerson)(!(mail=*@y.cz)))", true),
            ("(uid=eva*ak)", true),
            ("(uid=*van*)", false),
            ("(|(uid=a)(mail=*))", true),
            ("(phone=*)", false),
        ] {
            let parsed = ldap3_proto::parse_ldap_filter_str(filter).unwrap();
            assert_eq!(matches(&parsed, &eva), expected, "{filter}");
        }
    }

    #[test]
    fn scopes_are_counted_from_the_base() {
        let dn = "uid=eva,ou=people,dc=demo";
        assert!(in_scope(dn, "ou=people,dc=demo", &LdapSearchScope::OneLevel));
        assert!(!in_scope(dn, "dc=demo", &LdapSearchScope::OneLevel));
        assert!(in_scope(dn, "dc=demo", &LdapSearchScope::Subtree));
        assert!(!in_scope(dn, "le,dc=demo", &LdapSearchScope::Subtree));
    }
}
