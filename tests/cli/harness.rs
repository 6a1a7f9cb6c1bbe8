//! The harness itself, by the smallest pipeline there is.

use crate::common::TestDir;

#[test]
fn the_smallest_pipeline_runs() {
    let dir = TestDir::pipeline("stages:\n  clean:\n    cmd: sort -u raw.txt > clean.txt\n    inputs: raw.txt\n    outputs: clean.txt\n");
    dir.write("raw.txt", "b\na\nb\n");
    dir.flow(&["run"]).code(0).out("").err("\n ran       clean  [..]s\n pipeline: 1 ran in [..]s\n");
    assert_eq!(dir.read("clean.txt"), "a\nb\n");
    dir.flow(&["run"]).code(0).err("\n pipeline: 1 up to date in [..]s\n");
}
