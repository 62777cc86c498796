//! The page for people.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use common::frame::{Basis, SourceState};
use common::stamp::Stamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::plot::{plot, spark};
use super::{Noted, Now, Table};

/// The style of every page; dbd-server has the same.
const STYLE: &str = include_str!("../../../common/src/page.css");

/// After so many seconds a browser loads the page again.
const REFRESH: u32 = 10;

/// From so many seconds on the page says what holds the horizon back.
const HELD_LONG: f64 = 1.0;

/// The whole page.
pub(super) fn page(noted: &Noted) -> Markup {
    let title = format!(
        "{} → {}",
        noted.what.source.as_str(),
        noted.what.destination.as_str()
    );
    let now = noted.now();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content=(REFRESH);
                title { (title) " · dbd-puller" }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    (state(noted, &now))
                    h2 { "Lag" }
                    p { (lag(&now)) }
                    (plot(&now.lags))
                    h2 { "Tables" }
                    @if now.tables.is_empty() {
                        p { "No table was pulled yet." }
                    } @else {
                        (tables(&now))
                    }
                }
                footer {
                    "dbd-puller " (env!("CARGO_PKG_VERSION")) ", this page at " (moment(SystemTime::now()))
                    ", again every " (REFRESH) " s"
                }
            }
        }
    }
}

fn state(noted: &Noted, now: &Now) -> Markup {
    let source = now.source.as_ref().map(|(source, _)| source);
    html! {
        @if let Some((since, why)) = &now.trouble {
            p.notice role="alert" { strong { "Trouble since " (moment(*since)) ": " } (why) }
        }
        dl.facts {
            dt { "State" }
            dd {
                @if let Some(table) = &now.at_work_on {
                    "at work on " (table)
                } @else if now.in_round {
                    "at work"
                } @else if let Some(interval) = noted.what.poll_interval {
                    "waiting, pulls every " (duration(interval.as_secs_f64()))
                } @else {
                    "done"
                }
            }
            dt { "Source" }
            dd {
                (noted.what.server)
                @if let Some(source) = source { ", horizon " (source.basis) }
            }
            dt { "Destination" }
            dd { @match &now.host { Some(host) => (host), None => "not connected" } }
            dt { "Last success" }
            dd { (since(now.succeeded)) }
            dt { "Received" }
            dd { (number(noted.received.load(Ordering::Relaxed))) " bytes" }
            dt { "Started" }
            dd { (moment(noted.began)) }
        }
        // What runs for a moment holds it back for that moment.
        @if let Some(holder) = source.filter(is_held_long).and_then(|source| source.held_back_by.as_ref()) {
            p.notice { "The source's horizon is held back by " (holder) ". Later changes wait until it has ended." }
        }
        @if source.is_some_and(|source| source.basis == Basis::Assumed) {
            p.notice {
                "The source's horizon is assumed, not proven: changes of long transactions may be missed. The \
                 dbd-server's log says why."
            }
        }
    }
}

fn is_held_long(source: &&SourceState) -> bool {
    source.now.seconds_since(source.horizon) >= HELD_LONG
}

fn lag(now: &Now) -> String {
    match now.lags_now().greatest() {
        Some(lag) => format!(
            "The table that is furthest behind the source is {} behind.",
            duration(lag)
        ),
        None => "Not known before a table was pulled to its end.".to_owned(),
    }
}

fn tables(now: &Now) -> Markup {
    html! {
        div.scroll.cards {
            table {
                thead {
                    tr {
                        th scope="col" { "Table" }
                        th scope="col" { "Behind" }
                        th scope="col" { "Last hour" }
                        @for name in ["Applied", "Deleted", "Fetched", "Repaired"] {
                            th.number scope="col" { (name) }
                        }
                        th scope="col" { "Last success" }
                        th scope="col" { "Errors" }
                    }
                }
                tbody {
                    @for ((name, table), lag) in now.tables.iter().zip(now.lags_now().0) {
                        tr {
                            th scope="row" { (name) }
                            td data-label="Behind" {
                                @match lag { Some(lag) => (duration(lag)), None => span.quiet { "not known yet" } }
                            }
                            td data-label="Last hour" { (spark(&table.lags)) }
                            td.number data-label="Applied" { (number(table.applied.load(Ordering::Relaxed))) }
                            td.number data-label="Deleted" { (number(table.deleted)) }
                            td.number data-label="Fetched" { (number(table.fetched)) }
                            td.number data-label="Repaired" { (number(table.repaired)) }
                            td data-label="Last success" { (since(table.succeeded)) }
                            td data-label="Errors" { (errors(table)) }
                        }
                    }
                }
            }
        }
    }
}

fn errors(table: &Table) -> Markup {
    html! {
        @match &table.error {
            None => span.quiet { "none" },
            Some((at, message)) => {
                @let class = if table.fails { "bad" } else { "quiet" };
                span class=(class) { (message) }
                " "
                span.quiet { "(" (number(table.errors)) " in all, the last " (since(Some(*at)))
                    @if !table.fails { ", over now" } ")" }
            },
        }
    }
}

/// A time of this machine's clock, in UTC.
fn moment(time: SystemTime) -> Markup {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    let text = Stamp::from_micros(micros).floor(0).sql();
    let text = text.split('.').next().unwrap_or_default();
    html! { span.time { (text) " UTC" } }
}

fn since(time: Option<SystemTime>) -> Markup {
    let ago = time.map(|time| time.elapsed().unwrap_or_default().as_secs_f64());
    html! {
        @match ago {
            Some(ago) => { (duration(ago)) " ago" },
            None => span.quiet { "never" },
        }
    }
}

/// A number with its thousands apart.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds, in the unit that suits them.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        ..120.0 => format!("{seconds:.0} s"),
        ..7_200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.1} h", seconds / 3_600.0),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_that_suits_it() {
        for (seconds, text) in [
            (0.0, "0.0 s"),
            (9.94, "9.9 s"),
            (75.2, "75 s"),
            (600.0, "10 min"),
            (9_000.0, "2.5 h"),
            (864_000.0, "10.0 days"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_long_number_can_be_read() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(number(value), text, "{value}");
        }
    }

    #[test]
    fn a_moment_is_in_utc() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_409_534_625_999);
        assert!(
            moment(time)
                .into_string()
                .contains("2014-09-01 01:23:45 UTC")
        );
    }
}
