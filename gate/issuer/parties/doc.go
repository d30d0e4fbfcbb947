// Package parties holds Sallyport's tokens against the code of those that take them:
// HashiCorp's JWT auth method of Vault, Kubernetes' JWT authenticator, and AWS's own
// client library against a strict token service. It has tests only, in a module of its
// own, so that none of what it brings is in the program.
//
//	cd gate/issuer/parties && go test ./...
//
// Each test has an issuer with its real documents behind TLS, tokens minted on the way
// that a job's are, and a relying party set up with what "sallyport policy trust"
// prints, run as it is printed. What is added to that is a line each, and named where
// it is:
//
//   - the certificate of the private CA that the tests' issuer is behind;
//   - in the tests of a binding to one deployment, the claims that name it. What is
//     printed binds subject, repository, environment, tier and that somebody approved;
//     it binds no commit, attempt or person, which differ with each deployment.
//
// The tests need the go command, sh and no network beyond this machine.
package parties
