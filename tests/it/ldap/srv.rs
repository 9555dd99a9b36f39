//! A directory of which only the domain is known: the DNS names its servers, the first of which is down. The DNS here is a few
//! lines that answer one question.

use std::net::{Ipv4Addr, SocketAddr};

use musterd::model::desired::{End, Nothing};
use tokio::net::UdpSocket;

use super::super::support::process::free_port;
use super::super::support::slapd::{ADMIN, BASE, Directory, PASSWORD, ldif};
use super::read_all;
use musterd::config::read::check;
use musterd::sources::ldap::Reader;

/// (priority, weight, port, host).
type Srv = (u16, u16, u16, &'static str);

fn name(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

fn srv((priority, weight, port, host): &Srv) -> Vec<u8> {
    let mut data = [priority.to_be_bytes(), weight.to_be_bytes(), port.to_be_bytes()].concat();
    data.extend_from_slice(&name(host));
    data
}

/// Answers every question for servers with these, and every one for an address with loopback (RFC 1035 §4.1, RFC 2782).
async fn dns(all: Vec<Srv>) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let asked = &buffer[12..length];
            let end = asked.iter().position(|byte| *byte == 0).unwrap() + 5;
            let mut answer = buffer[..2].to_vec();
            let kind = asked[end - 3];
            let records: Vec<Vec<u8>> = match kind {
                33 => all.iter().map(srv).collect(),
                1 => vec![vec![127, 0, 0, 1]],
                _ => Vec::new(),
            };
            let count = u16::try_from(records.len()).unwrap();
            answer.extend_from_slice(&[0x84, 0, 0, 1]);
            answer.extend_from_slice(&count.to_be_bytes());
            answer.extend_from_slice(&[0, 0, 0, 0]);
            answer.extend_from_slice(&asked[..end]);
            for data in records {
                answer.extend_from_slice(&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60]);
                answer.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
                answer.extend_from_slice(&data);
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    at
}

fn reader(dns: SocketAddr) -> Reader {
    let text = format!(
        "url = 'ldap+srv://corp.test'\ndns = '{dns}'\nbase = '{BASE}'\nbind_dn = '{ADMIN}'\npassword = '{PASSWORD}'\n\
         insecure = true\ntimeout = '5s'"
    );
    Reader::compile(&check(&text, musterd::config::ldap::read).unwrap()).unwrap()
}

#[tokio::test]
async fn complaint_23_the_dns_names_the_servers_and_the_next_one_is_tried() {
    let directory = Directory::start(&ldif(5, 1, 2)).await;
    let dead = free_port();
    let servers =
        vec![(20, 0, directory.port, "dc.corp.test."), (10, 5, dead, "dc.corp.test."), (10, 9, dead, "dc.corp.test.")];
    let (records, end) = read_all(&reader(dns(servers).await), &Nothing).await;
    assert!(matches!(end, End::Complete { .. }) && records.len() == 6, "{end:?}");
    // Whoever answers for the DNS cannot send us anywhere.
    let reason = |servers: Vec<Srv>| async move {
        match read_all(&reader(dns(servers).await), &Nothing).await {
            (records, End::Incomplete { reason, .. }) if records.is_empty() => reason,
            other => panic!("{other:?}"),
        }
    };
    let away = reason(vec![(0, 0, directory.port, "evil.example.")]).await;
    assert!(away.contains("evil.example") && away.contains("no host of corp.test"), "{away}");
    assert!(reason(vec![]).await.contains("_ldap._tcp.corp.test"), "nobody is named");
    assert!(reason(vec![(0, 0, 0, ".")]).await.contains("names no server"), "no such service");
    let down = reason(vec![(0, 0, dead, "dc.corp.test.")]).await;
    assert!(down.contains(&format!("ldap://dc.corp.test:{dead}")), "{down}");
}
