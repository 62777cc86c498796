//! R7. Every character of every character set arrives as it was.

use harness::{Pair, every_direction};

use crate::STAMP;

every_direction!(every_character_set_arrives_exactly,);

/// Every single byte of the small character sets, and a large part of the big ones, with the
/// characters that exist twice or have a backslash as their second byte.
async fn every_character_set_arrives_exactly(mut pair: Pair) {
    let all = "SELECT CONCAT(CHARACTER_SET_NAME,' ',MAXLEN) FROM information_schema.CHARACTER_SETS";
    let there = pair.dest.column(all).await;
    let mut charsets = pair.source.column(all).await;
    charsets.retain(|charset| there.contains(charset) && !charset.starts_with("binary"));
    assert!(charsets.len() > 30, "{charsets:?}");
    for charset in &charsets {
        let (charset, length) = charset.split_once(' ').unwrap();
        pair.both(&format!(
            "CREATE TABLE cs_{charset} (id INT PRIMARY KEY, c VARCHAR(20) CHARACTER SET {charset}, \
             t TEXT CHARACTER SET {charset}, h CHAR(4) CHARACTER SET {charset}, {STAMP})"
        ))
        .await;
        let mut stored = 0;
        pair.source.run("START TRANSACTION").await;
        for hex in repertoire(charset, length) {
            // The server itself decides which of them are characters.
            let id = u32::from_str_radix(&hex, 16).unwrap();
            let literal = format!("_{charset} x'{hex}'");
            let row = format!(
                "INSERT INTO cs_{charset} (id, c, t, h) VALUES ({id}, {literal}, {literal}, {literal})"
            );
            // What the destination's server does not take cannot arrive, exactly or otherwise.
            let both = pair.dest.try_run(&row).await.is_ok();
            stored += u32::from(both && pair.source.try_run(&row).await.is_ok());
        }
        pair.source.run("COMMIT").await;
        pair.dest.run(format!("TRUNCATE cs_{charset}")).await;
        assert!(stored > 20, "{charset} took {stored} characters only");
    }
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

fn repertoire(charset: &str, length: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let single = length == "1" || !["ucs2", "utf16", "utf16le", "utf32"].contains(&charset);
    if single {
        all.extend((0..=255_u32).map(|byte| format!("{byte:02X}")));
    }
    match charset {
        "ucs2" | "utf16" => {
            all.extend(
                (0..0xFFFF_u32)
                    .step_by(257)
                    .map(|unit| format!("{unit:04X}")),
            );
            all.extend(["D83DDE00", "DBFFDFFF", "005C", "0027"].map(str::to_owned));
        }
        "utf16le" => {
            all.extend(
                (0..0xFFFF_u32)
                    .step_by(257)
                    .map(|unit| format!("{unit:04X}")),
            );
            all.push("3DD800DE".to_owned());
        }
        "utf32" => all.extend(
            (0..0x11_0000_u32)
                .step_by(4099)
                .map(|point| format!("{point:08X}")),
        ),
        "utf8mb3" | "utf8" | "utf8mb4" => {
            all.extend(
                ["C3A9", "E697A5", "EFBFBD", "EFBBBF", "F09F9880", "F48FBFBF"].map(str::to_owned),
            );
        }
        _ if length != "1" => {
            for lead in 0x81..=0xFE_u32 {
                for trail in [0x40, 0x5C, 0x7E, 0x80, 0xA1, 0xB8, 0xFC, 0xFE_u32] {
                    all.push(format!("{lead:02X}{trail:02X}"));
                }
            }
            all.extend(["8FA2AF", "8FB0A1", "8EA1", "8130813", "81308130"].map(str::to_owned));
        }
        _ => {}
    }
    all.retain(|hex| hex.len() % 2 == 0);
    all
}
