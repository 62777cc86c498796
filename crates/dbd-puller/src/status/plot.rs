//! Lines over the last hour, as SVG; pure.

use maud::{Markup, html};

use super::lag::{POINTS, Ring};
use super::page::duration;

/// Points of the small line beside a table.
const SPARK: usize = 60;

/// Each picture is so high in its own units; the page gives it its size.
const HEIGHT: f32 = 100.0;

/// The lag of the last hour, with its scale.
pub(super) fn plot(lags: &Ring) -> Markup {
    let top = round_up(lags.greatest().unwrap_or_default());
    let label = match lags.greatest() {
        Some(greatest) => format!(
            "Lag of the last hour, {} at most",
            duration(f64::from(greatest))
        ),
        None => "Lag of the last hour: not known yet".to_owned(),
    };
    html! {
        div.plot {
            div.scale aria-hidden="true" {
                span { (duration(f64::from(top))) }
                span { (duration(f64::from(top) / 2.0)) }
                span { "0" }
            }
            svg role="img" aria-label=(label) viewBox={ "0 0 " (POINTS) " 100" } preserveAspectRatio="none" {
                path.grid d={ "M0 50H" (POINTS) } {}
                path d=(line(&lags.points(POINTS), top)) {}
            }
            div.times aria-hidden="true" { span { "1 h ago" } span { "30 min" } span { "now" } }
        }
    }
}

/// The lag of a table in the last hour, without a scale.
pub(super) fn spark(lags: &Ring) -> Markup {
    let Some(greatest) = lags.greatest() else {
        return html! {};
    };
    let label = format!("in the last hour {} at most", duration(f64::from(greatest)));
    html! {
        svg.spark role="img" aria-label=(label) viewBox={ "0 0 " (SPARK) " 100" } preserveAspectRatio="none" {
            path d=(line(&lags.points(SPARK), round_up(greatest))) {}
        }
    }
}

/// A path through the points that are known, interrupted where they are not.
fn line(points: &[Option<f32>], top: f32) -> String {
    let mut path = String::new();
    let mut is_open = false;
    for (at, point) in points.iter().enumerate() {
        let Some(point) = point else {
            is_open = false;
            continue;
        };
        // A line along an edge would be half outside.
        let height = 2.0 + (HEIGHT - 4.0) * (1.0 - point / top);
        path.push_str(&match is_open {
            true => format!("L{at} {height:.1}"),
            // A point alone is a line of no length, which has round ends.
            false => format!("M{at} {height:.1}h.01"),
        });
        is_open = true;
    }
    path
}

/// The ends of a scale, in seconds: what they and their halves are called is short. The first is that of an idle
/// puller, so that it shows no mountains.
const TOPS: [f32; 15] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 240.0, 600.0, 1_200.0, 3_600.0, 14_400.0, 43_200.0,
    86_400.0, 172_800.0,
];

/// The end of a scale on which that value is; a whole number of days where it is more than two.
fn round_up(value: f32) -> f32 {
    const DAY: f32 = 86_400.0;
    let top = TOPS.into_iter().find(|top| value <= *top);
    top.unwrap_or_else(|| (value / DAY).ceil() * DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_gaps_where_nothing_is_known() {
        let points = [None, Some(0.0), Some(10.0), None, Some(5.0)];
        assert_eq!(line(&points, 10.0), "M1 98.0h.01L2 2.0M4 50.0h.01");
        assert_eq!(line(&[None, None], 1.0), "");
    }

    #[test]
    fn a_scale_ends_with_a_round_number() {
        for (value, top) in [
            (0.0, 1.0),
            (0.3, 1.0),
            (1.0, 1.0),
            (1.1, 2.0),
            (3.0, 5.0),
            (7.0, 10.0),
            (11.0, 20.0),
            (542.0, 600.0),
            (172_801.0, 259_200.0),
        ] {
            assert_eq!(round_up(value), top, "{value}");
        }
    }
}
