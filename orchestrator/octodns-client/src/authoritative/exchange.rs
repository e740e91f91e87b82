//! One question to one address: UDP first, TCP when the answer does not fit.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType as WireType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::{Answer, QueryError};
use crate::name::RecordName;
use crate::record::{RecordKey, RecordSet, RecordType};

/// What passes nearly every path unfragmented (DNS flag day 2020).
const DATAGRAM: u16 = 1232;
const ATTEMPTS: u32 = 2;

/// Asks the server at `address` about `key`.
pub(super) async fn ask(address: SocketAddr, key: &RecordKey, attempt: Duration) -> Result<Answer, QueryError> {
    let query = question(key)?;
    let mut last = QueryError::Timeout(attempt);
    for _ in 0..ATTEMPTS {
        match tokio::time::timeout(attempt, exchange(address, &query)).await {
            Ok(Ok(message)) => return read(&message, key),
            Ok(Err(error)) => return Err(error),
            Err(_) => last = QueryError::Timeout(attempt * ATTEMPTS),
        }
    }
    Err(last)
}

fn question(key: &RecordKey) -> Result<Query, QueryError> {
    let malformed = |what: &str| QueryError::Malformed(format!("cannot ask for {what}"));
    let name = Name::from_ascii(key.name.fqdn()).map_err(|_| malformed(key.name.as_str()))?;
    let kind: WireType = key.kind.as_str().parse().map_err(|_| malformed(key.kind.as_str()))?;
    Ok(Query::query(name, kind))
}

async fn exchange(address: SocketAddr, query: &Query) -> Result<Message, QueryError> {
    let answer = over_udp(address, query).await?;
    if answer.metadata.truncation { over_tcp(address, query).await } else { Ok(answer) }
}

async fn over_udp(address: SocketAddr, query: &Query) -> Result<Message, QueryError> {
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await.map_err(unreachable)?;
    // connected: only this server's datagrams come in
    socket.connect(address).await.map_err(unreachable)?;
    let (request, id) = encode(query)?;
    socket.send(&request).await.map_err(unreachable)?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(unreachable)?;
        // anybody can send a datagram; keep waiting for one that fits
        if let Ok(message) = Message::from_vec(&buffer[..length])
            && answers(&message, id, query)
        {
            return Ok(message);
        }
    }
}

async fn over_tcp(address: SocketAddr, query: &Query) -> Result<Message, QueryError> {
    let mut stream = TcpStream::connect(address).await.map_err(unreachable)?;
    let (request, id) = encode(query)?;
    let length = u16::try_from(request.len()).map_err(|_| QueryError::Malformed("the question is too long".into()))?;
    let framed = [&length.to_be_bytes()[..], &request].concat();
    stream.write_all(&framed).await.map_err(unreachable)?;
    let length = stream.read_u16().await.map_err(unreachable)?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await.map_err(unreachable)?;
    let message = Message::from_vec(&buffer).map_err(|error| QueryError::Malformed(error.to_string()))?;
    if answers(&message, id, query) {
        Ok(message)
    } else {
        Err(QueryError::Malformed("it answers another question".into()))
    }
}

fn encode(query: &Query) -> Result<(Vec<u8>, u16), QueryError> {
    // a new message has a random id
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(DATAGRAM);
    message.set_edns(edns);
    let id = message.metadata.id;
    let bytes = message.to_vec().map_err(|error| QueryError::Malformed(error.to_string()))?;
    Ok((bytes, id))
}

fn answers(message: &Message, id: u16, query: &Query) -> bool {
    message.metadata.id == id
        && message.metadata.message_type == MessageType::Response
        && match &message.queries[..] {
            [asked] => {
                asked.name() == query.name()
                    && asked.query_type() == query.query_type()
                    && asked.query_class() == query.query_class()
            }
            // some servers leave the question out of an error
            [] => message.metadata.response_code != ResponseCode::NoError,
            _ => false,
        }
}

/// What `message` says about `key`.
fn read(message: &Message, key: &RecordKey) -> Result<Answer, QueryError> {
    let negative_ttl = message.authorities.iter().find_map(negative_ttl);
    match message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => return Err(QueryError::Failed(code_name(code))),
    }
    if !message.metadata.authoritative {
        return Err(QueryError::NotAuthoritative);
    }
    if let Some(set) = collect(message, key) {
        return Ok(Answer::Records(set));
    }
    let alias = RecordKey::new(key.name.clone(), RecordType::Cname);
    if let Some(set) = collect(message, &alias) {
        return Ok(Answer::Alias(set));
    }
    Ok(match message.metadata.response_code {
        ResponseCode::NXDomain => Answer::NxDomain { negative_ttl },
        _ => Answer::NoData { negative_ttl },
    })
}

/// The code's own name, as tools print it.
fn code_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::ServFail => "SERVFAIL".into(),
        ResponseCode::Refused => "REFUSED".into(),
        ResponseCode::FormErr => "FORMERR".into(),
        ResponseCode::NotImp => "NOTIMP".into(),
        ResponseCode::NotAuth => "NOTAUTH".into(),
        other => other.to_string(),
    }
}

fn collect(message: &Message, key: &RecordKey) -> Option<RecordSet> {
    let mut ttl = None;
    let mut values = Vec::new();
    for record in &message.answers {
        if record.dns_class != DNSClass::IN || !is_of(record, key) {
            continue;
        }
        ttl = Some(ttl.map_or(record.ttl, |ttl: u32| ttl.min(record.ttl)));
        values.push(text(&record.data));
    }
    let ttl = ttl?;
    Some(RecordSet::observed(key.name.clone(), key.kind.clone(), ttl, values))
}

fn is_of(record: &Record, key: &RecordKey) -> bool {
    record.record_type().to_string() == key.kind.as_str()
        && RecordName::new(&record.name.to_ascii()).is_ok_and(|name| name == key.name)
}

/// A value as [`RecordSet`] spells it.
fn text(data: &RData) -> String {
    match data {
        // however it was cut into strings
        RData::TXT(txt) => txt.txt_data.iter().map(|part| String::from_utf8_lossy(part)).collect(),
        other => other.to_string(),
    }
}

/// RFC 2308: the lesser of the SOA's time to live and its last field.
fn negative_ttl(record: &Record) -> Option<u32> {
    match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreachable(error: std::io::Error) -> QueryError {
    QueryError::Unreachable(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::op::OpCode;
    use hickory_proto::rr::rdata::{A, CNAME, SOA, TXT};
    use proptest::prelude::*;

    use super::*;

    fn key(kind: RecordType) -> RecordKey {
        RecordKey::new(RecordName::new("m.example.org").unwrap(), kind)
    }

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn message(code: ResponseCode, answers: Vec<(&str, u32, RData)>) -> Message {
        let mut message = Message::response(1, OpCode::Query);
        message.metadata.authoritative = true;
        message.metadata.response_code = code;
        for (owner, ttl, data) in answers {
            message.add_answer(Record::from_rdata(name(owner), ttl, data));
        }
        message
    }

    #[test]
    fn records_are_collected_without_others() {
        let a = |d| RData::A(A(Ipv4Addr::new(192, 0, 2, d)));
        let message = message(
            ResponseCode::NoError,
            vec![("M.example.org.", 60, a(2)), ("m.example.org.", 60, a(1)), ("other.example.org.", 60, a(3))],
        );
        let answer = read(&message, &key(RecordType::A)).unwrap();
        assert_eq!(answer.records().unwrap().values, ["192.0.2.1", "192.0.2.2"]);
    }

    #[test]
    fn a_text_in_pieces_is_one_value() {
        let data = RData::TXT(TXT::new(vec!["v=DKIM1; ".into(), "p=abc".into()]));
        let message = message(ResponseCode::NoError, vec![("m.example.org.", 60, data)]);
        let answer = read(&message, &key(RecordType::Txt)).unwrap();
        assert_eq!(answer.records().unwrap().values, ["v=DKIM1; p=abc"]);
    }

    #[test]
    fn an_alias_is_not_followed() {
        let data = RData::CNAME(CNAME(name("there.example.org.")));
        let message = message(ResponseCode::NoError, vec![("m.example.org.", 60, data)]);
        let answer = read(&message, &key(RecordType::A)).unwrap();
        assert!(matches!(&answer, Answer::Alias(set) if set.values == ["there.example.org."]));
    }

    #[test]
    fn nothing_and_no_name_and_failure_differ() {
        let mut nothing = message(ResponseCode::NoError, Vec::new());
        let soa = SOA::new(name("ns."), name("h."), 1, 1, 1, 1, 30);
        nothing.add_authority(Record::from_rdata(name("example.org."), 600, RData::SOA(soa)));
        let negative_ttl = Some(30);
        let ask = |message: &Message| read(message, &key(RecordType::A));
        assert_eq!(ask(&nothing), Ok(Answer::NoData { negative_ttl }));
        nothing.metadata.response_code = ResponseCode::NXDomain;
        assert_eq!(ask(&nothing), Ok(Answer::NxDomain { negative_ttl }));
        nothing.metadata.response_code = ResponseCode::ServFail;
        assert_eq!(ask(&nothing), Err(QueryError::Failed("SERVFAIL".into())));
        let mut lame = message(ResponseCode::NoError, Vec::new());
        lame.metadata.authoritative = false;
        assert_eq!(ask(&lame), Err(QueryError::NotAuthoritative));
    }

    #[tokio::test]
    async fn a_closed_port_is_not_a_timeout() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        let error = ask(address, &key(RecordType::A), Duration::from_secs(5)).await;
        assert!(matches!(error, Err(QueryError::Unreachable(_))), "{error:?}");
    }

    #[tokio::test]
    async fn silence_is_a_timeout() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let error = ask(address, &key(RecordType::A), Duration::from_millis(20)).await;
        assert_eq!(error, Err(QueryError::Timeout(Duration::from_millis(40))));
    }

    proptest! {
        #[test]
        fn any_datagram_is_an_answer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(message) = Message::from_vec(&bytes) {
                let _ = read(&message, &key(RecordType::A));
            }
        }
    }
}
