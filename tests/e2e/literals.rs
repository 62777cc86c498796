//! R7. A literal stands for its value, to the servers themselves.

use common::kind::Kind;
use common::process::Secret;
use common::session::Address;
use common::tls::Tls;
use harness::{Flavour, Lease};
use mysql_async::{Row, Value, prelude::Queryable};

/// Literals of one statement.
const AT_ONCE: usize = 250;

/// Statements for each flavour.
const STATEMENTS: u64 = 16;

/// What means something to a server within quotes, and what a client might get wrong.
const PIECES: [&str; 22] = [
    "'", "''", "\\", "\\'", "\\\\", "\"", "`", "\0", "\n", "\r", "\x1a", "%", "\\%", "\\n", "--",
    "/*", "*/", ";", "é", "😀", "x'", "_binary",
];

#[tokio::test]
async fn r7_mysql_reads_a_literal_as_its_value() {
    read(Lease::take(Flavour::MySql).await).await;
}

#[tokio::test]
async fn r7_mariadb_reads_a_literal_as_its_value() {
    read(Lease::take(Flavour::MariaDb).await).await;
}

async fn read(server: Lease) {
    let address = Address {
        host: "127.0.0.1".to_owned(),
        port: server.port(),
        username: "root".to_owned(),
        password: Secret::default(),
        tls: Tls::default(),
    };
    let mut conn = address.connect(&[]).await.unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..STATEMENTS {
        let values: Vec<(Kind, Vec<u8>)> = (0..AT_ONCE).map(|_| value(&mut random)).collect();
        let mut statement = b"SELECT ".to_vec();
        for (at, (kind, value)) in values.iter().enumerate() {
            if at > 0 {
                statement.push(b',');
            }
            let mut wire = Vec::new();
            kind.encode(Some(value), false, &mut wire).unwrap();
            let wire = String::from_utf8(wire).unwrap();
            kind.literal(&wire, true, &mut statement).unwrap();
            // The names of columns would be the literals themselves.
            statement.extend(format!(" AS c{at}").bytes());
        }
        let row: Row = conn.query_first(statement).await.unwrap().unwrap();
        for (at, (kind, value)) in values.iter().enumerate() {
            let Some(Value::Bytes(read)) = row.as_ref(at) else {
                panic!("{kind:?} {value:?}: {row:?}");
            };
            let same = match kind {
                Kind::Double => number(read) == number(value),
                _ => read == value,
            };
            assert!(same, "{kind:?} {value:?} {read:?}");
        }
    }
}

fn number(text: &[u8]) -> u64 {
    let text = std::str::from_utf8(text).unwrap();
    text.parse::<f64>().unwrap().to_bits()
}

fn value(random: &mut fastrand::Rng) -> (Kind, Vec<u8>) {
    let text = |random: &mut fastrand::Rng| -> String {
        (0..random.usize(..12))
            .map(|_| PIECES[random.usize(..PIECES.len())])
            .collect()
    };
    let bytes = |random: &mut fastrand::Rng| -> Vec<u8> {
        (0..random.usize(..20))
            .map(|_| {
                *random
                    .choice(&[0, 26, b'\'', b'\\', 0x80, 0xbf, 0xff, b'a'])
                    .unwrap()
            })
            .collect()
    };
    let seconds = |random: &mut fastrand::Rng| {
        format!(
            "{:02}:{:02}:{:02}",
            random.u8(..24),
            random.u8(..60),
            random.u8(..60)
        )
    };
    match random.u8(..10) {
        0 => (Kind::Integer, random.i64(..).to_string().into_bytes()),
        1 => (Kind::Integer, random.u64(..).to_string().into_bytes()),
        2 => (
            Kind::Decimal,
            format!("{}.{:030}", random.i64(..), random.u64(..)).into_bytes(),
        ),
        // A DOUBLE of few digits is shown without an exponent, and parsed alike by all.
        3 => (
            Kind::Double,
            format!("{:e}", random.f64() * 10_f64.powi(random.i32(-300..300))).into_bytes(),
        ),
        4 => (
            Kind::DateTime,
            format!("20{:02}-02-28 {}.000100", random.u8(..99), seconds(random)).into_bytes(),
        ),
        5 => (Kind::Time, format!("-{}", seconds(random)).into_bytes()),
        6 => (Kind::Binary, bytes(random)),
        7 => (Kind::Geometry, bytes(random)),
        8 => (Kind::Text, bytes(random)),
        _ => (Kind::Text, text(random).into_bytes()),
    }
}
