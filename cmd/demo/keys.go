package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// audience is the relying party of the story's credential.
const audience = "orders-db.acme.internal"

// targets are what the server's own file declares.
func (s *story) targets(dir string) (*rules.Targets, error) {
	text := fmt.Sprintf("targets:\n  orders-db: {tier: human, repositories: [%d], environments: [production], token: {audience: %s}}\n", s.repo.ID, audience)
	if s.production != nil {
		var err error
		if text, err = s.production.target(dir, s.repo.ID); err != nil {
			return nil, err
		}
	}
	t, problems := rules.LoadTargets("targets.yml", []byte(text))
	if t == nil {
		return nil, fmt.Errorf("the story's targets: %v", problems)
	}
	return t, nil
}

// credential has the released job ask for its credential, and somebody else in it ask
// again.
func (s *story) credential(ctx context.Context, r run) error {
	s.say("")
	s.say("  The job that runs now asks for its credential, with the token that GitHub gives it. Nobody else could: none")
	s.say("  was made before bob approved.")
	status, answer, err := s.ask(ctx, r)
	if err != nil || status != http.StatusCreated {
		return fmt.Errorf("the job's credential was answered with %d: %w", status, err)
	}
	var given struct {
		Credential string            `json:"credential"`
		Expires    time.Time         `json:"expires_at"`
		Values     map[string]string `json:"values"`
	}
	if err := json.Unmarshal(answer, &given); err != nil {
		return err
	}
	if s.production != nil {
		err = s.withDatabase(ctx, given.Values)
	} else {
		err = s.withToken(given.Credential, given.Values["token"])
	}
	if err != nil {
		return err
	}
	s.say("\n  Something else in that job asks too:")
	status, answer, err = s.ask(ctx, r)
	if err != nil {
		return err
	}
	var problem struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}
	if err := json.Unmarshal(answer, &problem); err != nil || status != http.StatusForbidden {
		return fmt.Errorf("a second asker was answered with %d: %w", status, err)
	}
	s.say("\n     %d %s %s\n     The first is ended, as it is when its job ends, and an alert raised: one of the two was not the deploy step.", status, problem.Code, problem.Detail)
	if s.production != nil {
		return s.gone(ctx)
	}
	s.say("     (A token like this dies by itself. Where there is a PostgreSQL on the machine the story runs a migration on it.)")
	return nil
}

// withToken shows what a token of ours says.
func (s *story) withToken(credential, token string) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("the credential is no token")
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	var c map[string]any
	if err := json.Unmarshal(body, &c); err != nil {
		return err
	}
	s.say("\n     201 %s: a token of Sallyport's own issuer, for %v, that lives two minutes and says", credential, c["aud"])
	for _, name := range []string{"sub", "sha", "approver_ids"} {
		s.say("         %-13s %v", name, c[name])
	}
	return nil
}

// ask asks for the credential with a fresh token of the job.
func (s *story) ask(ctx context.Context, r run) (int, []byte, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/leases", strings.NewReader(`{"credential":"orders-migrator"}`))
	if err != nil {
		return 0, nil, err
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Authorization", "Bearer "+r.Job("production").IDToken("http://127.0.0.1", nil))
	client := &http.Client{Timeout: patience}
	answer, err := client.Do(q)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	return answer.StatusCode, body, err
}
