//! What goes wrong, and when: decided by the seed before anything begins.

use std::fmt;
use std::time::Duration;

use crate::soak::random::Random;

/// What can be killed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Process {
    Source,
    Server,
    Puller,
    Dest,
}

/// What runs through a relay.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Link {
    /// From dbd-server to the source.
    Source,
    /// From dbd-puller to dbd-server.
    Server,
    /// From dbd-puller to the destination.
    Dest,
}

/// What a relay does to its connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Harm {
    /// The connection that carries the byte so many from now on is cut right behind it.
    Cut { after: u64 },
    /// The same, but only the bytes of long pieces count: rows that are on their way.
    CutRows { after: u64 },
    /// All connections are cut at once.
    Sever,
    /// No connection is accepted for a while.
    Refuse { lasts: Duration },
    /// Every piece arrives so much later.
    Delay { by: Duration, lasts: Duration },
    /// So many bytes pass in a second.
    Throttle { rate: u64, lasts: Duration },
    /// Nothing passes for a while, and then everything does.
    Stall { lasts: Duration },
    /// Nothing passes any more on the connections that are open now, and after a while they are cut.
    Freeze { lasts: Duration },
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// kill -9, and a start some time later.
    Kill { process: Process, down: Duration },
    /// The network.
    Harm { link: Link, harm: Harm },
}

/// The faults of a round, each with its time since the round's beginning, in the order of these.
pub(crate) type Plan = Vec<(Duration, Fault)>;

pub(crate) const PROCESSES: [Process; 4] = [
    Process::Source,
    Process::Server,
    Process::Puller,
    Process::Dest,
];

pub(crate) const LINKS: [Link; 3] = [Link::Source, Link::Server, Link::Dest];

/// A process is left alone for this long after it was killed, or nothing would ever get done.
const REST: Duration = Duration::from_secs(5);

/// Milliseconds between two faults at most: now everything at once, now time to work in between.
const PACES: [u64; 3] = [800, 2_000, 5_000];

/// The faults of a round that lasts so long.
pub(crate) fn plan(random: &mut Random, lasts: Duration) -> Plan {
    let mut plan = Plan::new();
    let mut rested = [Duration::ZERO; PROCESSES.len()];
    let mut at = random.millis(200, 1_500);
    let mut pace = PACES[1];
    while at < lasts {
        if random.percent(10) {
            pace = random.one_of(&PACES);
        }
        if random.percent(40) {
            let several = if random.percent(20) { 2 } else { 1 };
            for _ in 0..several {
                let process = random.one_of(&PROCESSES);
                let down = down(random, process);
                if at >= rested[process as usize] {
                    rested[process as usize] = at + down + REST;
                    plan.push((at, Fault::Kill { process, down }));
                }
            }
        } else {
            let link = random.one_of(&LINKS);
            let harm = harm(random);
            plan.push((at, Fault::Harm { link, harm }));
        }
        at += random.millis(50, pace);
    }
    plan
}

/// How long a process stays away. Its start comes on top.
fn down(random: &mut Random, process: Process) -> Duration {
    match process {
        Process::Source | Process::Dest => random.millis(0, 1_500),
        Process::Server | Process::Puller => random.millis(0, 800),
    }
}

fn harm(random: &mut Random) -> Harm {
    match random.below(12) {
        0..2 => Harm::Cut {
            after: random.magnitude(19),
        },
        2..5 => Harm::CutRows {
            after: random.magnitude(14),
        },
        5 => Harm::Sever,
        6 => Harm::Refuse {
            lasts: random.millis(200, 2_000),
        },
        7..9 => Harm::Delay {
            by: random.millis(5, 150),
            lasts: random.millis(500, 4_000),
        },
        9 => Harm::Throttle {
            rate: random.between(5_000, 200_000),
            lasts: random.millis(500, 4_000),
        },
        10 => Harm::Stall {
            lasts: random.millis(300, 4_000),
        },
        _ => Harm::Freeze {
            lasts: random.millis(1_000, 6_000),
        },
    }
}

impl Fault {
    /// What the report counts it as.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Kill { process, .. } => format!("kill {process}"),
            Self::Harm { link, harm } => {
                let harm = match harm {
                    Harm::Cut { .. } => "cut",
                    Harm::CutRows { .. } => "cut rows of",
                    Harm::Sever => "sever",
                    Harm::Refuse { .. } => "refuse",
                    Harm::Delay { .. } => "delay",
                    Harm::Throttle { .. } => "throttle",
                    Harm::Stall { .. } => "stall",
                    Harm::Freeze { .. } => "freeze",
                };
                format!("{harm} {link}")
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Kill { down, .. } => write!(f, "{kind}, back in {down:?}"),
            Self::Harm { harm, .. } => match harm {
                Harm::Cut { after } | Harm::CutRows { after } => {
                    write!(f, "{kind} after {after} bytes")
                }
                Harm::Sever => write!(f, "{kind}"),
                Harm::Delay { by, lasts } => write!(f, "{kind} by {by:?} for {lasts:?}"),
                Harm::Throttle { rate, lasts } => {
                    write!(f, "{kind} to {rate} bytes a second for {lasts:?}")
                }
                Harm::Refuse { lasts } | Harm::Stall { lasts } | Harm::Freeze { lasts } => {
                    write!(f, "{kind} for {lasts:?}")
                }
            },
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Server => "dbd-server",
            Self::Puller => "dbd-puller",
            Self::Dest => "destination",
        })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "server-source",
            Self::Server => "puller-server",
            Self::Dest => "puller-destination",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_plan() {
        let of = |seed| plan(&mut Random::new(seed, 0), Duration::from_secs(300));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn every_process_is_killed_and_every_link_harmed() {
        let plan = plan(&mut Random::new(1, 0), Duration::from_secs(300));
        assert!(plan.is_sorted_by_key(|(at, _)| *at));
        let killed = |wanted| {
            plan.iter().any(
                |(_, fault)| matches!(fault, Fault::Kill { process, .. } if *process == wanted),
            )
        };
        assert!(PROCESSES.into_iter().all(killed), "{plan:?}");
        let harmed = |wanted| {
            plan.iter()
                .any(|(_, fault)| matches!(fault, Fault::Harm { link, .. } if *link == wanted))
        };
        assert!(LINKS.into_iter().all(harmed), "{plan:?}");
    }
}
