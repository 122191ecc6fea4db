//! Measures everything.
mod kernel;
fn main() -> anyhow::Result<()> {
    let object = std::env::args().nth(1).unwrap();
    let bits = std::env::args().nth(2).map_or(20, |b| b.parse().unwrap());
    let figures = kernel::measure(std::path::Path::new(&object), kernel::Effort { turns: 7, runs: 1_000_000, many_bits: bits })?;
    println!("{figures:#?}");
    Ok(())
}
