package issuer_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/issuer"
	"github.com/sallyport/sallyport/rules"
)

// BenchmarkMint reports how many signatures' time a token takes.
func BenchmarkMint(b *testing.B) {
	for name, key := range map[string]crypto.Signer{"RS256": anRSAKey(), "ES256": anECKey()} {
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "key.pem")
			writeKey(path, key)
			i := must(issuer.New(b.Context(), withKeys(path)))
			c := claims(rules.TierHuman)
			c.ApprovedAt = t0.AddDate(-1, 0, 0)
			digest := sha256.Sum256([]byte("x"))
			var bare, all time.Duration
			for b.Loop() {
				start := time.Now()
				must(key.Sign(rand.Reader, digest[:], crypto.SHA256))
				middle := time.Now()
				must(i.Mint(b.Context(), c))
				bare, all = bare+middle.Sub(start), all+time.Since(middle)
			}
			b.ReportMetric(float64(all.Nanoseconds())/float64(b.N), "ns/mint")
			b.ReportMetric(float64(bare.Nanoseconds())/float64(b.N), "ns/signature")
			b.ReportMetric(float64(all)/float64(bare), "signatures/mint")
		})
	}
}
