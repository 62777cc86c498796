//! How a table is written: worked out once, from its shape at the source and at the destination.

use std::sync::Arc;

use common::table::Table;

use crate::choose::Chosen;
use crate::client::{ListedTable, Listing};
use crate::create;
use crate::destination::Destination;
use crate::error::PullError;
use crate::plan::{Plan, plan};
use crate::round::Puller;

impl Puller {
    pub(crate) async fn plan(
        &mut self,
        listing: &Listing,
        listed: &ListedTable,
        chosen: &Chosen<'_>,
        destination: &mut Destination,
    ) -> Result<Arc<Plan>, PullError> {
        let table_error = |reason| PullError::Table {
            table: listed.name.clone(),
            reason,
        };
        let shape = format!("{:?}{:?}{:?}", listed.columns, listed.key, listed.stamp);
        let known = self.tables.entry(listed.name.clone()).or_default();
        if let Some((of, plan)) = &known.plan
            && *of == shape
        {
            return Ok(Arc::clone(plan));
        }
        let target = match destination.table(&listed.name).await? {
            Some(target) => target,
            None if self.args.create_tables && !self.args.only_compares() => {
                create_table(listing, listed, destination).await?;
                destination.table(&listed.name).await?.ok_or_else(|| {
                    table_error("the account may not see the table it has created".to_owned())
                })?
            }
            None => {
                return Err(table_error(
                    "the destination has no such table; create it, or pull with --create-tables"
                        .to_owned(),
                ));
            }
        };
        let made = Arc::new(plan(listed, &target, &chosen.choice).map_err(table_error)?);
        known.plan = Some((shape, Arc::clone(&made)));
        if !self.args.only_compares() {
            self.advise(listed, &target, &made);
        }
        Ok(made)
    }

    /// Makes the tables that are missing, so that all can be looked at together.
    pub(crate) async fn create_missing(
        &self,
        listing: &Listing,
        chosen: &[Chosen<'_>],
        destination: &mut Destination,
    ) -> Result<(), PullError> {
        let listed = chosen.iter().filter_map(|chosen| chosen.listed().ok());
        let missing: Vec<&ListedTable> = listed
            .filter(|listed| !destination.has_read(&listed.name))
            .collect();
        for listed in &missing {
            match create_table(listing, listed, destination).await {
                // What is wrong with it is said when its turn comes.
                Err(error) if !error.is_of_one_table() => return Err(error),
                _ => {}
            }
        }
        if !missing.is_empty() {
            destination.read_tables().await?;
        }
        Ok(())
    }

    /// Says once per table what makes its pulls slow, or what might change its rows.
    fn advise(&mut self, listed: &ListedTable, target: &Table, plan: &Plan) {
        let stamp = &plan.stamp.name;
        if listed.stamp.as_ref().is_some_and(|stamp| !stamp.indexed) {
            self.say(format!(
                "{name}: no index on {stamp} at the source, so that every pull reads the whole \
                 table; CREATE INDEX {stamp} ON {name} ({stamp})",
                name = listed.name
            ));
        }
        if target.index_on(stamp).is_none() {
            self.say(format!(
                "{name}: no index on {stamp} at the destination, so that every start reads the \
                 whole table; CREATE INDEX {stamp} ON {name} ({stamp})",
                name = target.name
            ));
        }
        if !target.triggers.is_empty() {
            self.say(format!(
                "{}: the destination's triggers {} run for every row that is written, and may \
                 change what was pulled; drop them unless they are meant to",
                target.name,
                target.triggers.join(", ")
            ));
        }
    }
}

async fn create_table(
    listing: &Listing,
    listed: &ListedTable,
    destination: &mut Destination,
) -> Result<(), PullError> {
    let statement = create::statement(listed, listing.flavour, destination.flavour)
        .filter(|statement| create::names_table(statement, &listed.name))
        .ok_or_else(|| PullError::Table {
            table: listed.name.clone(),
            reason: "the source sent no definition that can be used; create the table by hand"
                .to_owned(),
        })?;
    destination.create(&listed.name, &statement).await?;
    tracing::info!(table = listed.name.as_str(), "created at the destination");
    Ok(())
}
