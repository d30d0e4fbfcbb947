// Package issuer is Sallyport's own OIDC issuer: the tokens that clouds, databases
// and other relying parties accept in place of GitHub's.
//
//	i, err := issuer.New(ctx, issuer.Config{URL: "https://sallyport.example.com", Store: s, NoSetting: store.ErrNotFound, Seal: seal})
//	err = i.NeedsSeal(targets) // refuse to start
//	token, err := i.Mint(ctx, issuer.Claims{Tier: rules.TierHuman, …})
//	mux.Handle("/.well-known/", i.Handler())
//	mux.Handle("/auto/.well-known/", i.Handler())
//
// # One issuer for each tier
//
// A relying party trusts an issuer, so each tier is one, with keys of its own:
//
//	tier   iss                      keys
//	human  SALLYPORT_URL            /.well-known/jwks.json
//	auto   SALLYPORT_URL + "/auto"  /auto/.well-known/jwks.json
//
// A key of tier auto is in no document of tier human, and no key may be in both:
// whoever has the keys of dev signs nothing that production accepts.
//
// # Keys
//
// A tier's keys are in files ([Config.KeyFile]), behind a [Signer] such as a key
// management service, or made here and kept in the store. Each is next (published,
// signs nothing yet), current (signs), or old (published, signs no more). [Issuer.Rotate] and
// [Issuer.Tend] move the keys that are made here; those in files are moved by
// renaming the files and starting again.
//
// Changing where a tier's keys come from is no rotation: the keys from before are
// gone at once, and tokens that they signed are refused.
//
// # Whoever controls the store
//
// Keys are sealed in the store, and each row says within the seal whose it is.
// Whoever can write there can delete keys, so that others are made; can bring back
// all rows of an earlier day, and thereby keys that were current then; and can take
// tokens out of use by both. They can neither read a key nor bring in one of theirs,
// except for tier auto on a server that has no seal. Deleting a sealed row does not
// undo that copies of it exist: one seal key opens them all.
package issuer
