//! For tests: whole topologies without threads or waiting, and single bolts without a topology.

mod capture;
mod driver;
mod feed;
mod test_collector;

pub use capture::{Capture, CaptureBolt};
pub use driver::TopologyTestDriver;
pub use feed::{Feed, FeedSpout};
pub use test_collector::TestCollector;
