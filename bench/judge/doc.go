// Command judge measures, side by side in one run, how long Sallyport and
// policy-bot take to judge the same change, and prints the ratios.
//
//	cd bench && go run ./judge
//
// What is compared, and what is not, is in bench/README.md.
package main
