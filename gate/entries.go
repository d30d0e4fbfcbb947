package gate

import (
	"time"

	"github.com/sallyport/sallyport/rules"
)

// What the ledger's entries hold in clear. The members stand in their names' order, in
// which canonical JSON has them: then nothing has to be sorted. Members may be added and
// keep their meaning.
type (
	decisionPayload struct {
		Codes        []string `json:"codes"`
		Environments []string `json:"environments"`
		Floor        string   `json:"floor"`
		Observe      bool     `json:"observe"`
		Policy       string   `json:"policy"`
		// PullRequests are those that a merge queue's group lands together.
		PullRequests []int         `json:"pull_requests,omitzero"`
		Verdict      rules.Verdict `json:"verdict"`
	}
	// effectPayload is of something that is about to be done at GitHub, or made.
	effectPayload struct {
		Access string `json:"access,omitzero"`
		// Answer is what our protection rule says.
		Answer string `json:"answer,omitzero"`
		// Base is what a released deployment is counted from: it brings all since. Empty
		// is all there is.
		Base       rules.SHA        `json:"base,omitzero"`
		Capability rules.Capability `json:"capability,omitzero"`
		// Conclusion is what a check run says.
		Conclusion string    `json:"conclusion,omitzero"`
		Credential string    `json:"credential,omitzero"`
		Deadline   time.Time `json:"deadline,omitzero"`
		// Grant is the decision by which the job was released that is given a credential.
		Grant string `json:"grant,omitzero"`
		// Human says that a release rests on a person's approval, Observed that it is one
		// only because the policy observes.
		Human    bool               `json:"human,omitzero"`
		Jobs     []rules.CheckRunID `json:"jobs,omitzero"`
		Kind     string             `json:"kind"`
		Observed bool               `json:"observed,omitzero"`
		// Target is the server's name of what the credential opens.
		Target string `json:"target,omitzero"`
	}
	// outcomePayload is what became of an effect.
	outcomePayload struct {
		Outcome string `json:"outcome"`
		Why     string `json:"why,omitzero"`
	}
	// factPayload is of what an operator asked for.
	factPayload struct {
		Kind string `json:"kind"`
		Why  string `json:"why,omitzero"`
	}
	alertPayload struct {
		Code rules.Code `json:"code"`
		File string     `json:"file,omitzero"`
	}
	policyPayload struct {
		Arrival string    `json:"arrival"`
		Blob    rules.SHA `json:"blob"`
		Deleted bool      `json:"deleted"`
		// Digest is what decisions name it by.
		Digest  string `json:"digest,omitzero"`
		File    string `json:"file"`
		Version int64  `json:"version"`
		Why     string `json:"why"`
	}
)
