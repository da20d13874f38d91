//! Generates the messages, clients and servers of `proto/`.

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        // One frame goes to every follower: `Bytes` is shared, a `Vec` would be copied for each.
        .bytes(".signpost.feed.v1.Records.frame")
        .bytes(".signpost.snapshots.v1.Chunk.data")
        .compile_protos(
            &[
                "proto/feed.proto",
                "proto/keys.proto",
                "proto/clicks.proto",
                "proto/budgets.proto",
                "proto/snapshots.proto",
            ],
            &["proto"],
        )
}
