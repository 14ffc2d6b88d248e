//! Writes the corpus: what [`cocoon_fuzz::seeds`] makes, as far as it is short.

use std::collections::BTreeMap;
use std::path::Path;

use cocoon_fuzz::seeds;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut written: BTreeMap<&str, usize> = BTreeMap::new();
    for (target, seed) in seeds::all() {
        // A long seed is for the property tests alone.
        if seed.len() > seeds::SEED_BYTES_MAX {
            continue;
        }
        let number = written.entry(target).or_default();
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("seed-{number}")), seed)?;
        *number += 1;
    }
    println!("{} seeds of {} targets", written.values().sum::<usize>(), written.len());
    Ok(())
}
