//! What can be said about a topology before it runs: is it sound, in which order do things come, and which
//! frames does each task await.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::metrics::ComponentKind;
use crate::reorder::Await;

/// How an input is grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grouping {
    Local,
    Shuffle,
    /// Fields or all: either sends a frame of each batch to every task.
    Everyone,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Input {
    pub from: usize,
    pub grouping: Grouping,
    pub feedback: bool,
}

/// A component's shape, without its types.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub name: String,
    pub kind: ComponentKind,
    /// As declared; a local bolt has as many as its head.
    pub tasks: usize,
    pub inputs: Vec<Input>,
    pub tick_every: Option<Duration>,
}

/// What is wrong with a topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// It has no spout.
    #[error("there is no spout: declare one with `spout`")]
    NoSpout,
    /// Two components, or two streams of one component, have the same name.
    #[error("the name `{0}` is used twice: give each component, and each stream of one, its own")]
    DuplicateName(String),
    /// A component was declared with zero tasks.
    #[error("`{0}` has no tasks: give it at least one")]
    NoTasks(String),
    /// A bolt has no input other than feedback.
    #[error("bolt `{0}` has no input: connect it with `shuffle`, `fields` or `all`")]
    NoInput(String),
    /// A stream and a bolt are of different builders.
    #[error("`{0}` is connected to a stream of another topology")]
    ForeignStream(String),
    /// Components feed each other in a circle.
    #[error("{} feed each other in a circle: make one edge of it a feedback edge", .0.join(", "))]
    Cycle(Vec<String>),
}

/// All that is wrong with a topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the topology can't be built: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct BuildErrors(pub Vec<BuildError>);

/// A sound topology's numbers. All vectors are indexed by component.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Upstream before downstream.
    pub order: Vec<usize>,
    pub tasks: Vec<usize>,
    /// By input: the slot of the upstream's task 0.
    pub slots: Vec<Vec<u32>>,
    /// By origin: which frames a task awaits.
    pub awaits: Vec<Vec<Option<Await>>>,
    /// The origin of a spout's task 0.
    pub first_origin: Vec<usize>,
    pub tick_every: Vec<Option<Duration>>,
    pub has_feedback: Vec<bool>,
}

impl Layout {
    /// Checks the shapes and works the layout out. `errors` are those that are known already.
    pub(crate) fn new(shapes: &[Shape], mut errors: Vec<BuildError>) -> Result<Self, BuildErrors> {
        let order = topological(shapes);
        check(shapes, &order, &mut errors);
        if !errors.is_empty() {
            return Err(BuildErrors(errors));
        }
        let head: Vec<usize> = (0..shapes.len()).map(|c| head_of(shapes, c)).collect();
        let tasks: Vec<usize> = head.iter().map(|&h| shapes[h].tasks).collect();
        let mut first_origin = vec![0; shapes.len()];
        let mut origins = Vec::new();
        for (c, shape) in shapes.iter().enumerate() {
            if shape.kind == ComponentKind::Spout {
                first_origin[c] = origins.len();
                origins.extend(std::iter::repeat_n(c, tasks[c]));
            }
        }
        let mut layout = Layout {
            slots: shapes.iter().map(|shape| slots(shape, &tasks)).collect(),
            awaits: vec![vec![None; origins.len()]; shapes.len()],
            tick_every: shapes.iter().map(|shape| shape.tick_every).collect(),
            has_feedback: shapes.iter().map(|s| s.inputs.iter().any(|i| i.feedback)).collect(),
            order,
            tasks,
            first_origin,
        };
        for &c in &layout.order.clone() {
            for (origin, &spout) in origins.iter().enumerate() {
                layout.awaits[c][origin] = layout.await_of(shapes, &head, c, origin, spout);
            }
        }
        Ok(layout)
    }

    fn await_of(
        &self,
        shapes: &[Shape],
        head: &[usize],
        component: usize,
        origin: usize,
        spout: usize,
    ) -> Option<Await> {
        let mut awaits = None;
        for input in forward(&shapes[component]) {
            let upstream = head[input.from];
            // How many of the upstream's tasks handle a batch, and so send a frame for it.
            let senders = match self.awaits[upstream][origin] {
                None if upstream == spout => 1,
                None => continue,
                Some(above) if above.always == 0 => 1,
                Some(_) => self.tasks[upstream] as u32,
            };
            let awaits: &mut Await = awaits.get_or_insert_default();
            match input.grouping {
                // A local bolt gets its tuples from its head, not in frames.
                Grouping::Local => return None,
                Grouping::Shuffle => awaits.on_turn += senders,
                Grouping::Everyone => awaits.always += senders,
            }
        }
        awaits
    }
}

fn forward(shape: &Shape) -> impl Iterator<Item = &Input> {
    shape.inputs.iter().filter(|input| !input.feedback)
}

/// The component on whose threads this one runs.
fn head_of(shapes: &[Shape], component: usize) -> usize {
    let mut head = component;
    while shapes[head].kind == ComponentKind::LocalBolt {
        head = shapes[head].inputs[0].from;
    }
    head
}

fn slots(shape: &Shape, tasks: &[usize]) -> Vec<u32> {
    let starts = shape.inputs.iter().scan(0, |next, input| {
        let start = *next;
        *next += tasks[input.from] as u32;
        Some(start)
    });
    starts.collect()
}

/// Upstream before downstream, as far as that is possible: what feeds itself is left out.
fn topological(shapes: &[Shape]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut placed = vec![false; shapes.len()];
    let ready = |c: usize, placed: &[bool]| !placed[c] && forward(&shapes[c]).all(|i| placed[i.from]);
    while let Some(next) = (0..shapes.len()).find(|&c| ready(c, &placed)) {
        placed[next] = true;
        order.push(next);
    }
    order
}

fn check(shapes: &[Shape], order: &[usize], errors: &mut Vec<BuildError>) {
    if !shapes.iter().any(|shape| shape.kind == ComponentKind::Spout) {
        errors.push(BuildError::NoSpout);
    }
    let mut names = BTreeSet::new();
    for shape in shapes {
        let name = shape.name.clone();
        if !names.insert(&shape.name) {
            errors.push(BuildError::DuplicateName(name.clone()));
        }
        if shape.kind != ComponentKind::LocalBolt && shape.tasks == 0 {
            errors.push(BuildError::NoTasks(name.clone()));
        }
        if shape.kind == ComponentKind::Bolt && forward(shape).next().is_none() {
            errors.push(BuildError::NoInput(name));
        }
    }
    if order.len() < shapes.len() {
        let circle = (0..shapes.len()).filter(|c| !order.contains(c));
        errors.push(BuildError::Cycle(circle.map(|c| shapes[c].name.clone()).collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(kind: ComponentKind, tasks: usize, inputs: &[(usize, Grouping)]) -> Shape {
        let inputs = inputs.iter().map(|&(from, grouping)| Input { from, grouping, feedback: false });
        Shape { name: String::new(), kind, tasks, inputs: inputs.collect(), tick_every: None }
    }

    #[test]
    fn awaits_follow_the_groupings() {
        use ComponentKind::{Bolt, LocalBolt, Spout};
        use Grouping::{Everyone, Local, Shuffle};
        let mut shapes = vec![
            shape(Spout, 2, &[]),
            shape(Bolt, 3, &[(0, Shuffle)]),
            shape(LocalBolt, 0, &[(1, Local)]),
            shape(Bolt, 4, &[(2, Everyone)]),
            shape(Bolt, 2, &[(3, Shuffle), (1, Shuffle)]),
            shape(Bolt, 2, &[(3, Everyone), (1, Shuffle)]),
        ];
        for (i, shape) in shapes.iter_mut().enumerate() {
            shape.name = i.to_string();
        }
        let layout = Layout::new(&shapes, Vec::new()).expect("it is sound");
        let expect = [None, Some((0, 1)), None, Some((1, 0)), Some((0, 5)), Some((4, 1))];
        for (c, expect) in expect.into_iter().enumerate() {
            let expect = expect.map(|(always, on_turn)| Await { always, on_turn });
            assert_eq!(layout.awaits[c], [expect, expect], "component {c}");
        }
        assert_eq!(layout.tasks, [2, 3, 3, 4, 2, 2]);
        assert_eq!(layout.slots[4], [0, 4]);
    }
}
