//! `tree`: a process with its ancestors and descendants.

use picket_event::{
    BootId, Event, Kind, Origin, Process, ProcessUid, Source, UnixNanos, Verdict, json,
};
use picket_proto::v1;
use serde_json::{Value, json};

use crate::cli::TreeArgs;
use crate::client::Collector;
use crate::failure::{Exit, Failure};
use crate::operator::Operator;
use crate::output::{Output, Paint};
use crate::sentence;
use crate::session::Session;
use crate::unread;

/// One process of the tree, checked.
#[derive(Debug)]
struct Node {
    depth: u32,
    process: Process,
    time: UnixNanos,
    exit: Option<v1::Exit>,
    target: bool,
    verdicts: Vec<Verdict>,
}

/// `tree`.
pub(crate) async fn run(operator: &Operator, args: TreeArgs) -> Result<(), Failure> {
    let uid = args.process_uid.as_deref().map(ProcessUid::parse);
    let uid = uid.transpose().map_err(|source| {
        Failure::new(Exit::Usage, source)
            .hint("events name it: picketctl events --json | jq .process.uid")
    })?;
    let request = v1::TreeRequest {
        host: args.host,
        process_uid: uid.map_or_else(Vec::new, |uid| uid.as_bytes().to_vec()),
        session: args.session,
    };
    let tree = Collector::open(operator).await?.tree(request).await?;
    let lacking = tree.unread;
    let session = tree.session.and_then(Session::checked);
    let nodes: Vec<Node> = tree.nodes.into_iter().filter_map(checked).collect();
    if nodes.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            "nothing is known of this process".to_owned(),
        ));
    }
    let mut out = Output::stdout();
    if let Some(session) = session.as_ref().filter(|_| !args.format.json) {
        out.line(&session.sentence())?;
    }
    let depths: Vec<u32> = nodes.iter().map(|node| node.depth).collect();
    for (place, node) in nodes.iter().enumerate() {
        if args.format.json {
            let of_target = session.as_ref().filter(|_| node.target);
            out.line(&as_json(node, of_target).to_string())?;
        } else {
            let branch = branch(&depths, place);
            out.line(&as_line(node, &branch, out.paint()))?;
        }
    }
    out.flush()?;
    unread::end(&lacking)
}

/// A node that this version cannot read is left out; its descendants keep their place.
fn checked(wire: v1::TreeNode) -> Option<Node> {
    let verdicts = wire.verdicts.into_iter().map(TryInto::try_into);
    Some(Node {
        depth: wire.depth,
        process: wire.process?.try_into().ok()?,
        time: UnixNanos(wire.time_unix_ns),
        exit: wire.exit,
        target: wire.target,
        verdicts: verdicts.collect::<Result<_, _>>().ok()?,
    })
}

fn as_line(node: &Node, branch: &str, paint: Paint) -> String {
    let mut line = format!(
        "{}  {branch}{}  {}",
        paint.faint(&sentence::moment(node.time)),
        sentence::actor(&node.process),
        sentence::command_line(&node.process),
    );
    if let Some(exit) = &node.exit {
        let exit = picket_event::Exit {
            code: exit.code,
            signal: exit.signal,
            duration_ns: exit.duration_ns,
        };
        line.push_str(&paint.faint(&format!("  ({})", sentence::of_exit(&exit))));
    }
    if node.target {
        line.push_str(&paint.warn("  <-"));
    }
    for verdict in &node.verdicts {
        if let Some(text) = sentence::judged(verdict, paint) {
            line.push_str("  ");
            line.push_str(&text);
        }
    }
    line
}

fn as_json(node: &Node, session: Option<&Session>) -> Value {
    let mut event = Event::new(Kind::Exec, node.time, Source::Agent).by(node.process.clone());
    event.verdicts.clone_from(&node.verdicts);
    let origin = Origin {
        host: None,
        boot: BootId::new([0; 16]),
    };
    let mut whole = json::to_value(&event, &origin);
    let mut part = |name: &str| whole.get_mut(name).map(Value::take).unwrap_or_default();
    let exit = node.exit.map(
        |exit| json!({"code": exit.code, "signal": exit.signal, "duration_ns": exit.duration_ns}),
    );
    let mut node = json!({
        "depth": node.depth,
        "target": node.target,
        "time": node.time.to_string(),
        "process": part("process"),
        "verdicts": if node.verdicts.is_empty() { json!([]) } else { part("verdicts") },
        "exit": exit,
    });
    if let Some(session) = session {
        node["session"] = session.json();
    }
    node
}

/// The lines that join a node to its parent, as `│  └─ `.
fn branch(depths: &[u32], place: usize) -> String {
    let own = depths.get(place).copied().unwrap_or_default().min(DEEPEST);
    let below = depths.get(place.saturating_add(1)..).unwrap_or_default();
    let more_at = |depth: u32| {
        let next = below.iter().find(|other| **other <= depth);
        next == Some(&depth)
    };
    let mut text = String::new();
    for depth in 1..own {
        text.push_str(if more_at(depth) { "│  " } else { "   " });
    }
    if own > 0 {
        text.push_str(if more_at(own) { "├─ " } else { "└─ " });
    }
    text
}

/// Deeper trees are not indented further.
const DEEPEST: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_join_children_to_their_parent() {
        let depths = [0, 1, 2, 2, 3, 1];
        let drawn: Vec<String> = (0..depths.len())
            .map(|place| branch(&depths, place))
            .collect();
        assert_eq!(drawn, ["", "├─ ", "│  ├─ ", "│  └─ ", "│     └─ ", "└─ "]);
    }

    #[test]
    fn a_tree_that_a_collector_made_up_is_drawn_within_bounds() {
        let depths = [u32::MAX, 3];
        assert!(branch(&depths, 0).chars().count() <= 3 * DEEPEST as usize);
    }
}
