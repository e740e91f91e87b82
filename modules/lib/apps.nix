# The applications that fedi knows: folder names under `apps/`, with what a guest
# gets where the deployment says nothing. Figures: each application's README.
{
  garage = {
    resources = {
      cores = 2;
      memory-mib = 2048;
      state-gib = 100;
    };
  };
  mastodon = {
    resources = {
      cores = 2;
      memory-mib = 4096;
      state-gib = 60;
    };
  };
  matrix = {
    resources = {
      cores = 2;
      memory-mib = 3072;
      state-gib = 40;
    };
  };
  peertube = {
    resources = {
      cores = 4;
      memory-mib = 4096;
      state-gib = 200;
    };
  };
  pixelfed = {
    resources = {
      cores = 2;
      memory-mib = 4096;
      state-gib = 60;
    };
  };
}
