"""What is measured, as commands; a package of its own, since opacus installs one of the same name."""
