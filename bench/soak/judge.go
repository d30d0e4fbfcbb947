package main

import (
	"fmt"
	"time"
)

// sample is one look at the server.
type sample struct {
	at         time.Duration
	rss, heap  float64 // MiB
	goroutines float64
	ready      float64       // work that a worker could take
	oldest     time.Duration // how long the oldest of it could have been
	waiting    float64       // work that is not due, or failed and waits
	effects    float64       // recorded and not known to have happened
	file       float64       // MiB, the ledger in it: grows by design, and is not judged
	rounds     int64
}

// String is a line of the table.
func (s sample) String() string {
	return fmt.Sprintf("%8s %9.1f %9.1f %10.0f %7.0f %7s %8.0f %8.0f %9.1f %8d",
		s.at.Round(time.Second), s.rss, s.heap, s.goroutines, s.ready, s.oldest.Round(100*time.Millisecond), s.waiting, s.effects, s.file, s.rounds)
}

// verdict is how much something grows over the second half.
type verdict struct {
	name, unit         string
	mean, growth, most float64
}

func (v verdict) steady() bool { return v.growth <= v.most }

// String is a line of the second table.
func (v verdict) String() string {
	return fmt.Sprintf("%-12s %8.1f %-7s %8.1f %-7s %8.1f", v.name, v.mean, v.unit, v.growth, v.unit, v.most)
}

// limits are what still counts as steady: a share of the mean, or, where that is less
// than noise, so much.
var limits = []struct {
	name, unit string
	share      float64
	least      float64
	of         func(sample) float64
}{
	{"RSS", "MiB", 0.10, 12, func(s sample) float64 { return s.rss }},
	{"heap", "MiB", 0.15, 8, func(s sample) float64 { return s.heap }},
	{"goroutines", "", 0.25, 25, func(s sample) float64 { return s.goroutines }},
	{"ready", "keys", 0.50, 15, func(s sample) float64 { return s.ready }},
	{"oldest", "s", 0.50, 10, func(s sample) float64 { return s.oldest.Seconds() }},
	{"waiting", "keys", 0.50, 25, func(s sample) float64 { return s.waiting }},
	{"effects", "", 0.50, 15, func(s sample) float64 { return s.effects }},
}

// judge fits a line to each series over the second half, by least squares, and says
// what it rises by from its first to its last sample.
func judge(all []sample) []verdict {
	half := all[len(all)/2:]
	var out []verdict
	for _, l := range limits {
		mean, growth := fit(half, l.of)
		out = append(out, verdict{l.name, l.unit, mean, growth, max(l.least, l.share*mean)})
	}
	return out
}

// fit gives the mean, and the rise of the line of least squares.
func fit(list []sample, of func(sample) float64) (mean, growth float64) {
	if len(list) < 2 {
		return 0, 0
	}
	n := float64(len(list))
	var x, y float64
	for _, s := range list {
		x += s.at.Seconds() / n
		y += of(s) / n
	}
	var xy, xx float64
	for _, s := range list {
		d := s.at.Seconds() - x
		xy += d * (of(s) - y)
		xx += d * d
	}
	if xx == 0 {
		return y, 0
	}
	return y, xy / xx * (list[len(list)-1].at - list[0].at).Seconds()
}
