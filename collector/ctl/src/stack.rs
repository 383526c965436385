//! `stack`: how often each value of a field occurs over the fleet, the rarest first.

use picket_event::field::Field;
use picket_event::{Clock, HostId, SystemClock, UnixNanos};
use picket_proto::v1;
use serde_json::{Value, json};

use crate::cli::StackArgs;
use crate::client::Collector;
use crate::events::doubt;
use crate::failure::{Exit, Failure};
use crate::operator::Operator;
use crate::output::{Output, note};
use crate::sentence;
use crate::table::Table;
use crate::unread;

/// `stack`.
pub(crate) async fn run(operator: &Operator, args: StackArgs) -> Result<(), Failure> {
    for path in std::iter::once(&args.field).chain(&args.by) {
        known(path)?;
    }
    let json = args.format.json;
    let by = args.by.clone();
    let request = request_of(args);
    let stack = Collector::open(operator).await?.stack(request).await?;
    let mut out = Output::stdout();
    if json {
        for row in &stack.rows {
            out.json(&as_json(row, by.is_some()))?;
        }
    } else {
        for line in table(&stack, by.is_some()).lines() {
            out.line(&line)?;
        }
    }
    out.flush()?;
    if stack.cut {
        note("there are more values than can be counted; ask for less time, or a --where");
    }
    unread::end(&stack.unread)
}

fn known(path: &str) -> Result<(), Failure> {
    let unknown = || {
        Failure::new(Exit::Usage, format!("there is no field `{path}`")).hint(
            "fields are the paths of `picketctl events --json`, as process.exe; see docs/search.md",
        )
    };
    Field::named(path).map(drop).ok_or_else(unknown)
}

fn request_of(args: StackArgs) -> v1::StackRequest {
    let now = SystemClock.now();
    v1::StackRequest {
        field: args.field,
        by: args.by.unwrap_or_default(),
        events: Some(v1::SearchRequest {
            host: args.host.unwrap_or_default(),
            kinds: args.kind.iter().map(|kind| kind.to_wire()).collect(),
            since_unix_ns: args.since.map_or(0, |when| when.from(now).0),
            until_unix_ns: 0,
            r#where: args.filter.unwrap_or_default(),
            limit: args.rarest,
            min_severity: 0,
            doubt: doubt(args.doubtful).into(),
        }),
    }
}

fn table(stack: &v1::StackResponse, by: bool) -> Table {
    let mut table = if by {
        Table::new(&["COUNT", "HOSTS", "FIRST", "LAST", "HOST", "BY", "VALUE"])
    } else {
        Table::new(&["COUNT", "HOSTS", "FIRST", "LAST", "HOST", "VALUE"])
    };
    for row in &stack.rows {
        let [count, hosts] = [row.count, row.hosts].map(|number| number.to_string());
        let [first, last] =
            [row.first_unix_ns, row.last_unix_ns].map(|time| sentence::moment(UnixNanos(time)));
        let host = if row.hosts == 1 {
            row.host_name.clone()
        } else {
            String::new()
        };
        if by {
            table.row([
                count,
                hosts,
                first,
                last,
                host,
                row.by.clone(),
                row.value.clone(),
            ]);
        } else {
            table.row([count, hosts, first, last, host, row.value.clone()]);
        }
    }
    table
}

fn as_json(row: &v1::StackRow, by: bool) -> Value {
    let mut shown = json!({
        "value": row.value,
        "count": row.count,
        "hosts": row.hosts,
        "first": UnixNanos(row.first_unix_ns).to_string(),
        "last": UnixNanos(row.last_unix_ns).to_string(),
        "host": HostId::from_slice(&row.host_id).ok().map(|host| host.to_string()),
        "host_name": row.host_name,
    });
    if by {
        shown["by"] = json!(row.by);
    }
    shown
}
