//! The shapes of a database's tables, as they were a moment ago.
//!
//! To read them costs the source far more than to see that nothing has changed. What only says which tables
//! have nothing new may therefore look at shapes of a moment ago; rows are always read by the shape that
//! their table has then (R7).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::digest::Hex;
use common::ident::Ident;

use crate::catalog::{self, Entry};
use crate::lease::{Lease, SourceError};
use crate::viewer::Viewer;

/// How long shapes are looked at again.
const FRESH: Duration = Duration::from_secs(1);

/// The shapes of a database.
pub(crate) struct Shapes {
    /// What the list of tables says, parents first.
    pub(crate) entries: Vec<Entry>,
    /// What that is called: another list has another version.
    pub(crate) version: String,
    by_name: HashMap<Ident, usize>,
}

impl Shapes {
    fn new(entries: Vec<Entry>) -> Self {
        let mut hasher = DefaultHasher::new();
        // A list that cannot be written is not sent either.
        hasher.write(&serde_json::to_vec(&entries).unwrap_or_default());
        let names = entries.iter().enumerate();
        Self {
            version: Hex(hasher.finish()).to_string(),
            by_name: names
                .map(|(at, entry)| (entry.table().name.clone(), at))
                .collect(),
            entries,
        }
    }

    /// A table of the list.
    pub(crate) fn table(&self, name: &Ident) -> Option<&Entry> {
        self.by_name.get(name).map(|at| &self.entries[*at])
    }
}

/// What was read lately, by database and by what is there for whoever asked.
#[derive(Clone, Default)]
pub(crate) struct Recent(Arc<Mutex<HashMap<Of, Kept>>>);

type Of = (Viewer, Ident);

struct Kept {
    /// When the reading began.
    at: Instant,
    /// Of which server.
    identity: String,
    shapes: Arc<Shapes>,
}

impl Recent {
    /// The shapes of a database of that server that were read a moment ago.
    pub(crate) fn of(
        &self,
        viewer: &Viewer,
        database: &Ident,
        identity: &str,
    ) -> Option<Arc<Shapes>> {
        let kept = self.lock();
        let kept = kept.get(&(viewer.clone(), database.clone()))?;
        let usable = kept.identity == identity && kept.at.elapsed() < FRESH;
        usable.then(|| Arc::clone(&kept.shapes))
    }

    /// Reads the shapes of a database anew, on a connection to the server of that identity.
    pub(crate) async fn read(
        &self,
        lease: &mut Lease,
        viewer: &Viewer,
        database: &Ident,
        identity: &str,
    ) -> Result<Arc<Shapes>, SourceError> {
        let at = Instant::now();
        let shapes = Arc::new(Shapes::new(catalog::list(lease, viewer, database).await?));
        let mut all = self.lock();
        all.retain(|_, kept| kept.at.elapsed() < FRESH);
        // Another request may have read them later and be done already.
        let of = (viewer.clone(), database.clone());
        if all.get(&of).is_none_or(|kept| kept.at < at) {
            let kept = Kept {
                at,
                identity: identity.to_owned(),
                shapes: Arc::clone(&shapes),
            };
            all.insert(of, kept);
        }
        Ok(shapes)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Of, Kept>> {
        // Each change of the map is one step: it is never half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
