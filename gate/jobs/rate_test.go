package jobs

import (
	"testing"
	"time"
)

// With any number of askers the memory stays as it is, and it is whoever asked least
// lately that is forgotten.
func TestRateForgets(t *testing.T) {
	r, now := newRate[int](), time.Now()
	for range perMinute {
		r.take(-1, now) // forgotten
	}
	for i := range 3 * maxAskers {
		if wait := r.take(i, now.Add(time.Second)); wait > 0 {
			t.Fatalf("asker %d waits %s", i, wait)
		}
		if i%1000 == 0 {
			r.take(-3, now.Add(time.Second))
		}
	}
	if len(r.askers) != maxAskers || r.order.Len() != maxAskers {
		t.Errorf("%d and %d askers, want %d", len(r.askers), r.order.Len(), maxAskers)
	}
	if wait := r.take(-1, now.Add(2*time.Second)); wait > 0 {
		t.Error("who was forgotten waits")
	}
	for range perMinute - 3*maxAskers/1000 - 1 {
		r.take(-3, now.Add(2*time.Second))
	}
	if wait := r.take(-3, now.Add(2*time.Second)); wait <= 0 {
		t.Error("who asked lately was forgotten")
	}
}
