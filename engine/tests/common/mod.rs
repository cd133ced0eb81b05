//! Bolts and topologies that several tests use.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::marker::PhantomData;

use engine::testing::TopologyTestDriver;
use engine::{Bolt, Collector, Config, DrainReport, LocalRuntime, Topology, Tuple};

/// A bolt that is one closure.
pub(crate) struct Each<In, Out, F>(F, PhantomData<fn(In) -> Out>);

/// Makes a bolt of a closure.
pub(crate) fn each<In, Out, F>(execute: F) -> Each<In, Out, F>
where
    F: FnMut(In, &mut Collector<'_, Out>) + Send + 'static,
{
    Each(execute, PhantomData)
}

impl<In: Tuple, Out: Tuple, F> Bolt for Each<In, Out, F>
where
    F: FnMut(In, &mut Collector<'_, Out>) + Send + 'static,
{
    type In = In;
    type Out = Out;

    fn execute(&mut self, input: In, out: &mut Collector<'_, Out>) {
        (self.0)(input, out);
    }
}

/// A bolt that emits what it gets.
pub(crate) fn pass<T: Tuple>() -> impl Bolt<In = T, Out = T> {
    each(|tuple, out: &mut Collector<'_, T>| out.emit(tuple))
}

/// The ways to run a topology whose spouts end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    Threads,
    OneThread,
    Driver,
    OverTheWire,
}

pub(crate) const MODES: [Mode; 4] = [Mode::Threads, Mode::OneThread, Mode::Driver, Mode::OverTheWire];

pub(crate) fn run(mode: Mode, topology: Topology) -> DrainReport {
    let config = Config { max_spout_pending: 5, channel_capacity: 2, ..Config::default() };
    match mode {
        Mode::Threads => LocalRuntime::new(config).start(topology).wait(),
        Mode::OneThread => LocalRuntime::new(config).run_on_this_thread(topology),
        Mode::Driver => TopologyTestDriver::new(topology).finish(),
        Mode::OverTheWire => TopologyTestDriver::over_the_wire(topology).finish(),
    }
}
