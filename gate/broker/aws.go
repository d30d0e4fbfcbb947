package broker

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// AWS gives a session of a role that trusts Sallyport's issuer. The exchange is made
// here and not in the job, so that a session policy ends the session at the lease's
// deadline: AWS's own shortest life is 15 minutes
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html).
type AWS struct {
	// Sign, Role (an ARN) and Region are required.
	Sign         Sign
	Role, Region string
	// Endpoint is the token service; "" is AWS's in the region.
	Endpoint string
	// Client sends the request; nil is one with a time limit and without redirects.
	Client *http.Client
	// Now is the clock. Nil is time.Now.
	Now func() time.Time
}

const (
	awsAudience = "sts.amazonaws.com"
	// awsShortest is the shortest session that AWS makes, in seconds.
	awsShortest = "900"
	maxAnswer   = 64 << 10
	exchange    = 15 * time.Second
)

// regionName is what a region looks like: it becomes part of a host's name.
var regionName = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)

func (a *AWS) endpoint() (string, error) {
	if a.Endpoint != "" {
		return a.Endpoint, nil
	}
	if !regionName.MatchString(a.Region) {
		return "", fmt.Errorf("%q is no region of AWS, such as eu-west-1", a.Region)
	}
	suffix := ".amazonaws.com/"
	if strings.HasPrefix(a.Region, "cn-") {
		suffix = ".amazonaws.com.cn/"
	}
	return "https://sts." + a.Region + suffix, nil
}

// Mint exchanges a token for a session.
func (a *AWS) Mint(ctx context.Context, l Lease) (map[string]string, []byte, error) {
	if a.Sign == nil || a.Role == "" {
		return nil, nil, errors.New("an AWS target without an issuer or a role")
	}
	endpoint, err := a.endpoint()
	if err != nil {
		return nil, nil, err
	}
	token, err := a.Sign(ctx, l, awsAudience, exchangeLife, false)
	if err != nil {
		return nil, nil, fmt.Errorf("signing a token: %w", err)
	}
	form := url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {a.Role}, "RoleSessionName": {l.ID}, "WebIdentityToken": {token},
		"DurationSeconds": {awsShortest}, "Policy": {sessionPolicy(l.Deadline)},
	}
	ctx, cancel := context.WithTimeout(ctx, exchange)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, nil, errors.New("the address of the token service is of no use")
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := a.client().Do(q)
	if err != nil {
		return nil, nil, fmt.Errorf("asking AWS for a session: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, nil, fmt.Errorf("reading AWS's answer: %w", err)
	}
	values, err := readSession(answer.StatusCode, body)
	if err != nil {
		return nil, nil, err
	}
	values["region"] = a.Region
	return values, nil, nil
}

func (a *AWS) client() *http.Client {
	if a.Client != nil {
		return a.Client
	}
	return &http.Client{Timeout: exchange, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// sessionPolicy lets the session do what the role may do, until the deadline.
func sessionPolicy(deadline time.Time) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"` +
		deadline.UTC().Format("2006-01-02T15:04:05Z") + `"}}}]}`
}

// readSession reads AWS's answer. An error holds AWS's code and nothing of a token.
func readSession(status int, body []byte) (map[string]string, error) {
	var a struct {
		XMLName xml.Name `xml:""`
		Code    string   `xml:"Error>Code"`
		Keys    struct {
			ID     string `xml:"AccessKeyId"`
			Secret string `xml:"SecretAccessKey"`
			Token  string `xml:"SessionToken"`
		} `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}
	if err := xml.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("AWS answered %d with something that cannot be read", status)
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("AWS refused the session (%d %s): see that the role trusts this server's issuer with audience %s and this subject", status, strings.Join(strings.Fields(a.Code), " "), awsAudience)
	}
	if a.Keys.ID == "" || a.Keys.Secret == "" || a.Keys.Token == "" {
		return nil, errors.New("AWS gave a session without its keys")
	}
	return map[string]string{"access_key_id": a.Keys.ID, "secret_access_key": a.Keys.Secret, "session_token": a.Keys.Token}, nil
}

// Revoke can end nothing sooner: the session policy denies everything from the deadline
// on.
func (a *AWS) Revoke(_ context.Context, l Lease, _ []byte) error {
	now := time.Now
	if a.Now != nil {
		now = a.Now
	}
	if now().Before(l.Deadline) {
		return &NotYet{Until: l.Deadline}
	}
	return nil
}

// Sweep has nothing to do: AWS lists no sessions.
func (*AWS) Sweep(context.Context, time.Time) error { return nil }
