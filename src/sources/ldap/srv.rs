//! Servers that the DNS names (RFC 2782): `ldaps+srv://example.com` is whoever `_ldaps._tcp.example.com` says, the lowest
//! priority first, the heavier before the lighter. An answer of the DNS is nobody's word: only hosts of that very domain
//! are taken, and their certificates must bear their names. Start at `servers`.

use std::net::SocketAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use url::Url;

use super::wire::Limits;
use crate::config::ldap::{SRV, host};

/// A server, and where it is if the DNS was asked for that already.
pub(super) struct Server {
    pub(super) url: Url,
    pub(super) at: Vec<SocketAddr>,
}

/// The servers behind a url, in the order in which they are tried; it alone where it names one.
pub(super) async fn servers(url: &Url, dns: Option<SocketAddr>, limits: Limits) -> Result<Vec<Server>, String> {
    let Some(scheme) = url.scheme().strip_suffix(SRV) else {
        return Ok(vec![Server { url: url.clone(), at: Vec::new() }]);
    };
    let domain = host(url).trim_end_matches('.').to_ascii_lowercase();
    let resolver = resolver(dns)?;
    let name = format!("_{scheme}._tcp.{domain}.");
    let asked =
        limits.wait(resolver.lookup(name.as_str(), RecordType::SRV)).await.map_err(|error| error.to_string())?;
    let found = asked.map_err(|error| format!("the DNS has no {name}: {error}"))?;
    let mut all: Vec<(u16, std::cmp::Reverse<u16>, Url)> = Vec::new();
    for record in found.answers() {
        let RData::SRV(srv) = &record.data else { continue };
        let target = srv.target.to_utf8().trim_end_matches('.').to_ascii_lowercase();
        // A lone dot says that there is no such service.
        if target.is_empty() {
            continue;
        }
        if !is_of(&target, &domain) {
            return Err(format!("the DNS names {target} for {name}, which is no host of {domain}"));
        }
        let server = format!("{scheme}://{target}:{}", srv.port).parse::<Url>();
        all.push((srv.priority, std::cmp::Reverse(srv.weight), server.map_err(|error| format!("{target}: {error}"))?));
    }
    if all.is_empty() {
        return Err(format!("the DNS names no server for {name}"));
    }
    all.sort();
    let mut servers = Vec::with_capacity(all.len());
    for (.., url) in all {
        let port = url.port_or_known_default().unwrap_or(if scheme == "ldaps" { 636 } else { 389 });
        // One whose address is not known is tried all the same, and told of then.
        let asked = limits.wait(resolver.lookup_ip(format!("{}.", host(&url)))).await;
        let addresses = asked.ok().and_then(Result::ok).map(|found| found.iter().collect::<Vec<_>>());
        let at = addresses.unwrap_or_default().into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        servers.push(Server { url, at });
    }
    Ok(servers)
}

fn is_of(host: &str, domain: &str) -> bool {
    host == domain || host.strip_suffix(domain).is_some_and(|above| above.ends_with('.'))
}

fn resolver(dns: Option<SocketAddr>) -> Result<TokioResolver, String> {
    let builder = match dns {
        None => TokioResolver::builder_tokio().map_err(|error| format!("the system's resolver: {error}"))?,
        Some(server) => {
            let at = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
            let server = NameServerConfig::new(server.ip(), true, connections);
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    builder.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_of_the_domain_are_its_servers() {
        for (host, expected) in [
            ("dc1.example.com", true),
            ("example.com", true),
            ("a.b.example.com", true),
            ("badexample.com", false),
            ("example.com.evil.net", false),
            ("evil.net", false),
        ] {
            assert_eq!(is_of(host, "example.com"), expected, "{host}");
        }
    }
}
