# The applications that fedi knows: folder names under `apps/`. What a guest gets where
# its file says nothing is in `orchestrator/fedi-plan/src/sizing.rs`.
[
  "garage"
  "mastodon"
  "matrix"
  "peertube"
  "pixelfed"
]
