package issuer

import "github.com/sallyport/sallyport/rules"

// MaxSubject is the longest subject in bytes.
const MaxSubject = rules.MaxLeaseSubject

// plain are the bytes of names that stand in a subject as they are.
const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

// Subject is the sub of the tokens of a credential in an environment of a repository,
// by [rules.LeaseSubject].
func Subject(repository rules.RepositoryID, environment, credential string) (string, error) {
	return rules.LeaseSubject(repository, environment, credential)
}

// ParseSubject is the reverse of [Subject]. It accepts only what Subject gives.
func ParseSubject(sub string) (repository rules.RepositoryID, environment, credential string, err error) {
	return rules.ParseLeaseSubject(sub)
}
