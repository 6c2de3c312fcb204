//! Rewrites a tree so that a matcher has fewer ways to try, with the same answers (P).
//!
//! Three rules. An atomic group moves to the right over what can match in one way only, and goes where nothing is left to
//! give back (`QUOTEDSTRING`, `BASE10NUM`, `YEAR` lose theirs). Alternatives that begin alike share their beginning
//! (`IPV6` becomes a tree of prefixes). A run in an atomic group that can't fail behind it is possessive.
//!
//! What none of them does: drop or reorder alternatives, or look at names.

use super::ast::{Choice, Node};
use super::bytes::Next;

/// The tree, simplified.
pub(super) fn simplify(node: Node) -> Node {
    match node {
        Node::Concat(nodes) => flat_concat(nodes.into_iter().map(simplify)),
        Node::Alt(nodes) => factored(flat_alt(nodes.into_iter().map(simplify))),
        Node::Repeat { node, min, max, choice } => repeat(simplify(*node), min, max, choice),
        Node::Capture(index, node) => Node::Capture(index, Box::new(simplify(*node))),
        Node::Look { is_behind, is_negative, node } => {
            // The body of a look-around is atomic anyway.
            let node = Box::new(if is_behind { simplify(*node) } else { tail(simplify(*node)) });
            Node::Look { is_behind, is_negative, node }
        }
        Node::Atomic(node) => atomic(simplify(*node)),
        node => node,
    }
}

fn repeat(node: Node, min: u32, max: Option<u32>, choice: Choice) -> Node {
    if (min, max) == (1, Some(1)) {
        return node;
    }
    if max == Some(0) {
        return Node::Empty;
    }
    // `(x+)?` of single characters is `x*`.
    if (min, max) == (0, Some(1))
        && choice == Choice::Greedy
        && let Node::Repeat { node: inner, min: 1, max: inner_max, choice: Choice::Greedy } = &node
    {
        return Node::Repeat { node: inner.clone(), min: 0, max: *inner_max, choice };
    }
    Node::Repeat { node: Box::new(node), min, max, choice }
}

fn flat_concat(nodes: impl Iterator<Item = Node>) -> Node {
    let mut flat = Vec::new();
    for node in nodes {
        match node {
            Node::Concat(inner) => flat.extend(inner),
            node => flat.push(node),
        }
    }
    Node::concat(flat)
}

fn flat_alt(nodes: impl Iterator<Item = Node>) -> Vec<Node> {
    let mut flat = Vec::new();
    for node in nodes {
        match node {
            Node::Alt(inner) => flat.extend(inner),
            node => flat.push(node),
        }
    }
    flat
}

/// An atomic group around `node`, as far to the right as it goes, or none.
fn atomic(node: Node) -> Node {
    let node = tail(node);
    if is_single_way(&node) {
        return node;
    }
    match node {
        Node::Concat(mut nodes) => {
            let is_fixed = |at: &usize| is_single_way(&nodes[*at]) || stops_at(&nodes[*at], &nodes[at + 1..]);
            let fixed = (0..nodes.len()).take_while(is_fixed).count();
            let rest = nodes.split_off(fixed);
            if nodes.is_empty() {
                return Node::Atomic(Box::new(Node::concat(rest)));
            }
            nodes.push(atomic(Node::concat(rest)));
            Node::concat(nodes)
        }
        // Where they exclude each other, the first that matches is the only one.
        Node::Alt(nodes) if are_disjoint(&nodes) => factored(nodes.into_iter().map(atomic).collect()),
        Node::Atomic(node) => Node::Atomic(node),
        node => Node::Atomic(Box::new(node)),
    }
}

/// `node`, after which nothing can fail that would make it try another way.
fn tail(node: Node) -> Node {
    match node {
        Node::Repeat { node, min, max, choice: Choice::Greedy } if matches!(*node, Node::Set(_)) => {
            Node::Repeat { node, min, max, choice: Choice::Possessive }
        }
        // What follows an iteration is another one, or the end: both can't fail.
        Node::Repeat { node, min, max, choice: Choice::Greedy } if min <= 1 && !node.is_nullable() => {
            Node::Repeat { node: Box::new(tail(*node)), min, max, choice: Choice::Greedy }
        }
        Node::Concat(mut nodes) => {
            let mut done = Vec::new();
            while let Some(last) = nodes.pop() {
                let is_infallible = is_infallible(&last);
                done.push(tail(last));
                if !is_infallible {
                    break;
                }
            }
            nodes.extend(done.into_iter().rev());
            Node::concat(nodes)
        }
        Node::Alt(nodes) => factored(nodes.into_iter().map(tail).collect()),
        Node::Capture(index, node) => Node::Capture(index, Box::new(tail(*node))),
        Node::Atomic(node) => atomic(*node),
        node => node,
    }
}

/// It always matches.
fn is_infallible(node: &Node) -> bool {
    match node {
        Node::Empty | Node::Keep => true,
        Node::Set(_) | Node::Look { .. } | Node::Assert(_) | Node::Passed(_) | Node::Backreference(_) => false,
        Node::Concat(nodes) => nodes.iter().all(is_infallible),
        Node::Alt(nodes) => nodes.iter().any(is_infallible),
        Node::Repeat { node, min, .. } => *min == 0 || is_infallible(node),
        Node::Capture(_, node) | Node::Atomic(node) => is_infallible(node),
    }
}

/// From one place it can match in one way at most, whatever follows.
fn is_single_way(node: &Node) -> bool {
    match node {
        Node::Empty | Node::Passed(_) | Node::Set(_) | Node::Assert(_) | Node::Look { .. } | Node::Atomic(_) => true,
        Node::Keep | Node::Backreference(_) => false,
        Node::Repeat { node, choice: Choice::Possessive, .. } => matches!(**node, Node::Set(_)),
        Node::Repeat { node, min, max, .. } => *max == Some(*min) && is_single_way(node),
        Node::Capture(_, node) => is_single_way(node),
        Node::Concat(nodes) => {
            nodes.iter().enumerate().all(|(index, node)| is_single_way(node) || stops_at(node, &nodes[index + 1..]))
        }
        Node::Alt(nodes) => nodes.iter().all(is_single_way) && are_disjoint(nodes),
    }
}

/// A run of characters, none of which can stand where `rest` begins: it ends in one place.
fn stops_at(node: &Node, rest: &[Node]) -> bool {
    let Node::Repeat { node, .. } = node else { return false };
    let Node::Set(set) = &**node else { return false };
    if rest.iter().all(Node::is_nullable) {
        return false;
    }
    Next::before_all(rest, &Next::ANY).is_disjoint(&Next::of_set(set))
}

/// No two of them can match at one place, and none matches the empty text.
fn are_disjoint(nodes: &[Node]) -> bool {
    if nodes.iter().any(Node::is_nullable) {
        return false;
    }
    let mut seen = Next::NONE;
    nodes.iter().all(|node| {
        let next = Next::before(node, &Next::NONE);
        let is_new = seen.is_disjoint(&next);
        seen = seen.or(&next);
        is_new
    })
}

/// Neighbours that begin alike share their beginning.
pub(super) fn factored(nodes: Vec<Node>) -> Node {
    let mut groups: Vec<(Option<Node>, Vec<Node>)> = Vec::new();
    for node in nodes {
        let (head, rest) = split_head(&node);
        match (groups.last_mut(), head) {
            (Some((Some(known), rests)), Some(head)) if *known == head => rests.push(rest),
            (_, Some(head)) if is_single_way(&head) => groups.push((Some(head), vec![rest])),
            _ => groups.push((None, vec![node])),
        }
    }
    let joined = groups.into_iter().map(|(head, mut rests)| match head {
        None => rests.remove(0),
        Some(head) if rests.len() == 1 => flat_concat([head, rests.remove(0)].into_iter()),
        Some(head) => flat_concat([head, factored(rests)].into_iter()),
    });
    Node::alt(joined.collect())
}

/// The first thing of `node` and the rest; a repetition gives its first turn.
fn split_head(node: &Node) -> (Option<Node>, Node) {
    match node {
        Node::Concat(nodes) => {
            let (first, rest) = nodes.split_first().expect("a sequence has a part");
            let (head, first_rest) = split_head(first);
            match head {
                // A run and what ends it belong together: only so it is matched in one way.
                Some(head)
                    if !is_single_way(&head)
                        && first_rest == Node::Empty
                        && !rest.is_empty()
                        && stops_at(&head, rest) =>
                {
                    let (next, next_rest) = split_head(&rest[0]);
                    match next {
                        Some(next) => {
                            let head = Node::Concat(vec![head, next]);
                            (Some(head), flat_concat([next_rest].into_iter().chain(rest[1..].iter().cloned())))
                        }
                        None => (None, node.clone()),
                    }
                }
                Some(head) => (Some(head), flat_concat([first_rest].into_iter().chain(rest.iter().cloned()))),
                None => (None, node.clone()),
            }
        }
        Node::Repeat { node: inner, min, max, choice }
            if *min > 0 && *max == Some(*min) && !matches!(**inner, Node::Set(_)) =>
        {
            let rest = repeat((**inner).clone(), min - 1, Some(min - 1), *choice);
            (Some((**inner).clone()), rest)
        }
        Node::Set(_) | Node::Repeat { .. } | Node::Assert(_) | Node::Look { .. } => (Some(node.clone()), Node::Empty),
        _ => (None, node.clone()),
    }
}
