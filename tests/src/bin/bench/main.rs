//! Measures everything.
mod kernel;
fn main() -> anyhow::Result<()> {
    let object = std::env::args().nth(1).unwrap();
    let bits = std::env::args().nth(2).map_or(20, |b| b.parse().unwrap());
    let object = std::path::Path::new(&object);
    let effort = kernel::Effort {
        turns: 9,
        runs: 1_000_000,
        many_bits: bits,
    };
    if std::env::args().nth(3).is_some() {
        return kernel::quick(object, effort);
    }
    let figures = kernel::measure(object, effort)?;
    println!("{figures:#?}");
    Ok(())
}
