# What every application's module stands on.
{
  imports = [
    ./base
    ./contracts
    ./guest
  ];
}
