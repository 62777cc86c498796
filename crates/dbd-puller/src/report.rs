//! What the log says of a pull of a table.

use common::frame::SourceState;
use common::ident::Ident;
use common::logs::millis;

use crate::pull::Pulled;

/// How far the horizon lies behind the source's time, in seconds.
pub(crate) fn behind(source: &SourceState) -> f64 {
    let seconds = source.now.seconds_since(source.horizon).max(0.0);
    (seconds * 10.0).round() / 10.0
}

/// One line per table and pull; and, for a single pull, what it left.
pub(crate) fn report(name: &Ident, pulled: &Pulled, single: bool) {
    let source = &pulled.source;
    tracing::info!(
        table = name.as_str(),
        rows = pulled.rows,
        bytes = pulled.bytes,
        seconds = millis(pulled.seconds),
        horizon = %source.horizon,
        basis = %source.basis,
        behind = behind(source),
        "pulled"
    );
    if single && pulled.more_above_horizon {
        tracing::warn!(
            table = name.as_str(),
            "changes at or after {} were left for a later pull: the horizon is held back by {}",
            source.horizon,
            source
                .held_back_by
                .as_deref()
                .unwrap_or("the second that is not over yet")
        );
    }
    if single && pulled.rows_in_future {
        tracing::warn!(
            table = name.as_str(),
            "rows that are stamped later than the source's time {} are not yet due; they are pulled \
             when that time has come",
            source.now
        );
    }
}
