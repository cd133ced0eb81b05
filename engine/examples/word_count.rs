//! Counts words: two tasks split the sentences, and three count the words.

use std::collections::BTreeMap;

use engine::{Bolt, Collector, LocalRuntime, Next, Spout, Timestamp, TopologyBuilder};

struct Sentences(std::vec::IntoIter<&'static str>);

impl Spout for Sentences {
    type Out = Vec<String>;

    fn next(&mut self, _now: Timestamp) -> Next<Vec<String>> {
        let sentence = self.0.next();
        sentence.map_or(Next::End, |text| Next::Emit(vec![text.to_owned()]))
    }
}

struct Split;

impl Bolt for Split {
    type In = Vec<String>;
    type Out = Vec<String>;

    fn execute(&mut self, sentences: Vec<String>, out: &mut Collector<'_, Vec<String>>) {
        let words = sentences.iter().flat_map(|sentence| sentence.split(' '));
        out.emit(words.map(str::to_owned).collect());
    }
}

#[derive(Default)]
struct Count(BTreeMap<String, u64>);

impl Bolt for Count {
    type In = Vec<String>;
    type Out = ();

    fn execute(&mut self, words: Vec<String>, _out: &mut Collector<'_, ()>) {
        for word in words {
            *self.0.entry(word).or_default() += 1;
        }
    }

    fn cleanup(&mut self, _out: &mut Collector<'_, ()>) {
        println!("{:?}", self.0);
    }
}

fn main() -> Result<(), engine::BuildErrors> {
    let text = vec!["the cow jumped over the moon", "the moon is over the cow"];
    let mut t = TopologyBuilder::new("word-count");
    let sentences = t.spout("sentences", 1, move |_| Sentences(text.clone().into_iter()));
    let words = t.bolt("split", 2, |_| Split).shuffle(&sentences);
    let _counts = t.bolt("count", 3, |_| Count::default()).fields(&words);
    println!("{}", LocalRuntime::default().start(t.build()?).wait());
    Ok(())
}
