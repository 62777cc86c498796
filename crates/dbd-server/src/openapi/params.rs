//! What a request may say.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::openapi::schema::{ArrayBuilder, ArrayItems, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Object, RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

/// The name of a database, percent-encoded; `-` alone is written `%2D`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct InDatabase {
    /// The name of a database.
    #[param(min_length = 1, max_length = 64, example = "shop")]
    database: String,
}

/// The names of a database and a table, percent-encoded; `-` alone is written `%2D`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OfTable {
    /// The name of a database.
    #[param(min_length = 1, max_length = 64, example = "shop")]
    database: String,
    /// The name of a table.
    #[param(min_length = 1, max_length = 64, example = "orders")]
    table: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TablesQuery {
    /// Adds the statement that would make each table.
    #[param(required = false, default = false)]
    definitions: bool,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RowsQuery {
    /// Rows stamped at or after this time (UTC unless it has an offset); without it every row, NULL stamps first.
    #[param(required = false, schema_with = time)]
    since: String,
    /// With `since`: a JSON array of the wire values of a key. Of the rows stamped exactly `since` only those with
    /// a greater key.
    #[param(required = false, schema_with = key)]
    after: String,
    /// Names of columns, by commas. Key and stamp are always there.
    #[param(required = false, example = "name,price")]
    include_columns: String,
    /// Names of columns to leave out, by commas.
    #[param(required = false, example = "note")]
    exclude_columns: String,
    /// At most so many rows. The answer then says where the next page is: `next` at its end, and `Link` in its head
    /// where that is known in time.
    #[param(required = false, minimum = 0, example = 100)]
    limit: u64,
    /// Where a page goes on, as the answer before said. Not with `since`, `after` or `keys`.
    #[param(required = false, example = "eyJ2IjoxfQ")]
    cursor: String,
    /// The stamp column to use, where there are several.
    #[param(required = false, example = "changed")]
    stamp: String,
    /// Seconds to wait at most for the horizon to reach `begun`.
    #[param(required = false, minimum = 0, maximum = 600, default = 2)]
    wait: f64,
    /// The time to wait for; that of this request unless given.
    #[param(required = false, schema_with = time)]
    begun: String,
    /// Instead of a window: a JSON array of keys, each an array of wire values, at most 1,000. Those rows,
    /// whatever their stamp.
    #[param(required = false, schema_with = keys)]
    keys: String,
    /// With `keys`: how they are compared.
    #[param(required = false, schema_with = matching)]
    r#match: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct KeysQuery {
    /// What of a row is hashed: its key, key and stamp, or every column.
    #[param(required = false, schema_with = level)]
    level: String,
    /// A JSON array of parts of the table, `[after, up_to, bits, value]`, at most 10,000; all of it unless given.
    #[param(required = false, schema_with = parts)]
    parts: String,
    /// Names of columns, by commas. Key and stamp are always there.
    #[param(required = false, example = "name,price")]
    include_columns: String,
    /// Names of columns to leave out, by commas.
    #[param(required = false, example = "note")]
    exclude_columns: String,
    /// The stamp column to use, where there are several.
    #[param(required = false, example = "changed")]
    stamp: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DigestsQuery {
    /// What of a row is hashed: its key, key and stamp, or every column.
    #[param(required = false, schema_with = level)]
    level: String,
    /// A JSON array of parts of the table, `[after, up_to, bits, value]`, at most 10,000; all of it unless given.
    #[param(required = false, schema_with = parts)]
    parts: String,
    /// Rows stamped before this time, and NULL stamps; never above the horizon.
    #[param(required = false, schema_with = time)]
    below: String,
    /// Cut the one part, of no bits, after every so many rows.
    #[param(required = false, minimum = 1, maximum = 1000000, example = 1000)]
    rows: u64,
    /// Split each part by so many further bits.
    #[param(required = false, minimum = 0, maximum = 16, default = 0)]
    split: u8,
    /// Names of columns, by commas. Key and stamp are always there.
    #[param(required = false, example = "name,price")]
    include_columns: String,
    /// Names of columns to leave out, by commas.
    #[param(required = false, example = "note")]
    exclude_columns: String,
    /// The stamp column to use, where there are several.
    #[param(required = false, example = "changed")]
    stamp: String,
}

/// Where the windows of some tables would begin.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichChanged {
    tables: Vec<Begin>,
    /// The version of the list of tables that the caller has.
    #[serde(default)]
    version: Option<String>,
}

/// The name of a table, its stamp column, `since`, and the wire values of the key `after` or null.
#[derive(Deserialize)]
pub(crate) struct Begin(Value);

impl PartialSchema for Begin {
    fn schema() -> RefOr<Schema> {
        let name = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(64));
        let key = ArrayBuilder::new()
            .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
            .items(ObjectBuilder::new().schema_type(SchemaType::AnyValue));
        let text = ObjectBuilder::new().schema_type(Type::String);
        let begin = ArrayBuilder::new()
            .description(Some(
                "A table, its stamp column, since, and the wire values of the key after or null",
            ))
            .prefix_items([
                Schema::Object(name.build()),
                Schema::Object(text.build()),
                Schema::Object(time()),
                Schema::Array(key.build()),
            ])
            .items(ArrayItems::False)
            .min_items(Some(4))
            .max_items(Some(4))
            .examples([json!(["orders", "changed", "2014-09-01T01:23:45Z", [42]])]);
        Schema::Array(begin.build()).into()
    }
}

impl ToSchema for Begin {
    fn name() -> Cow<'static, str> {
        "Begin".into()
    }
}

/// The parameters of a query as those of a form.
pub(crate) fn form(parameters: Vec<utoipa::openapi::path::Parameter>) -> Schema {
    let mut form = ObjectBuilder::new().additional_properties(Some(
        utoipa::openapi::schema::AdditionalProperties::FreeForm(false),
    ));
    for parameter in parameters {
        if let Some(mut schema) = parameter.schema {
            if let RefOr::T(Schema::Object(object)) = &mut schema {
                object.description = parameter.description;
            }
            form = form.property(parameter.name, schema);
        }
    }
    form.into()
}

fn string(pattern: &str, examples: &[&str]) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
        .examples(examples.iter().copied())
        .build()
}

fn one_of(names: &[&str], default: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(names.iter().copied()))
        .default(Some(default.into()))
        .build()
}

fn time() -> Object {
    string(
        "^\\d{4}-\\d{2}-\\d{2}([ T]\\d{2}:\\d{2}:\\d{2}(\\.\\d{1,6})?(Z|[+-]\\d{2}:\\d{2})?)?$",
        &[
            "2014-09-01",
            "2014-09-01 01:23:45",
            "2014-09-01T03:23:45.678+02:00",
        ],
    )
}

fn key() -> Object {
    string("^\\s*\\[.*\\]\\s*$", &["[42]"])
}

fn keys() -> Object {
    string("^\\s*\\[.*\\]\\s*$", &["[[1],[2]]"])
}

fn parts() -> Object {
    string("^\\s*\\[.*\\]\\s*$", &["[[null,[42],0,0],[[42],null,0,0]]"])
}

fn matching() -> Object {
    one_of(&["bytes", "collation"], "bytes")
}

fn level() -> Object {
    one_of(&["keys", "stamps", "full"], "stamps")
}
