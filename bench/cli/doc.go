// Command cli measures the command line against git, in one run:
//
//	cd bench && go run ./cli
//
// It builds sallyport stripped, makes a repository with a branch of 3,000 changed
// files and a file of change facts, both in a temporary folder, and takes samples
// of each program in turn. Nothing is asserted: it prints medians beside the goals.
package main
