//! The dialogues of `tests/dialogues`, whose replies were recorded from Postfix, against our session in this process;
//! [`posthouse_tests::dialogue`] has their form. Replies that differ from the reference's on purpose are in
//! `docs/differences.toml`.

#[expect(dead_code, reason = "sessions.rs looks at the messages")]
mod world;

use posthouse_tests::dialogue::{self, Dialogue};

async fn hold(dialogue: Dialogue, world: &world::World) -> Result<(), String> {
    let from = dialogue.from.map(|address| address.to_string());
    let stream = world.connect(&dialogue.parameters, from.as_deref()).await?;
    let stream = stream.into_std().map_err(|error| error.to_string())?;
    stream.set_nonblocking(false).map_err(|error| error.to_string())?;
    tokio::task::spawn_blocking(move || dialogue.hold_over(stream)).await.map_err(|error| error.to_string())?
}

#[test]
fn replies_are_those_of_the_reference() {
    let dialogues = dialogue::ours(&dialogue::all());
    let count = dialogues.len();
    let mut failures = Vec::new();
    server::testing::run(async {
        let world = world::World::start(&dialogue::directory()).await;
        for dialogue in dialogues {
            failures.extend(hold(dialogue, &world).await.err());
        }
    });
    assert!(failures.is_empty(), "{} of {count} dialogues:\n{}", failures.len(), failures.join("\n"));
    assert!(count >= 100);
}
