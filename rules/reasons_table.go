package rules

import (
	"cmp"
	"slices"
)

// The reason codes. Hundreds are families: 0 facts and policies, 1 paths, 2
// authorship, 3 approvals, 4 checks, 5 deployments, 6 leases. Codes may be added
// to and never changed or used again.
const (
	codePolicyUnread      Code = "SP001"
	codePolicyInvalid     Code = "SP002"
	codePolicyNotAdopted  Code = "SP003"
	codePolicyDeleted     Code = "SP004"
	codePolicyNone        Code = "SP005"
	codePolicyUngated     Code = "SP007"
	codePolicyRewritten   Code = "SP008"
	codePolicyOtherBranch Code = "SP009"
	codeObserve           Code = "SP010"
	codeFilesUnknown      Code = "SP020"
	codeFilesIncomplete   Code = "SP021"
	codeCommitsIncomplete Code = "SP022"
	codeHeadUnknown       Code = "SP023"
	codeNothingChanged    Code = "SP024"
	codeDraft             Code = "SP025"
	codeDraftUnknown      Code = "SP026"
	codeReviewsUnknown    Code = "SP027"
	codeLocal             Code = "SP030"

	codeHumanPath     Code = "SP101"
	codeUnnamedPath   Code = "SP102"
	codeProtectedPath Code = "SP103"
	codeOddPath       Code = "SP104"
	codeSpecialMode   Code = "SP105"
	codeModeUnknown   Code = "SP106"
	codeLookalikePath Code = "SP107"
	codeRenameUnknown Code = "SP108"
	codeAutoPath      Code = "SP109"
	codeAlsoPath      Code = "SP110"

	codeAgentAccount    Code = "SP201"
	codeAgentText       Code = "SP202"
	codeMixed           Code = "SP203"
	codeHuman           Code = "SP204"
	codeAutomation      Code = "SP205"
	codeFork            Code = "SP206"
	codeHeadRepoUnknown Code = "SP207"
	codeTextApproved    Code = "SP209"
	codeBaseUnguarded   Code = "SP210"
	codeAssisted        Code = "SP211"
	codeMixedApproved   Code = "SP212"
	codeBaseUnreviewed  Code = "SP213"

	codeApprovalMissing   Code = "SP301"
	codeApproved          Code = "SP302"
	codeChangesRequested  Code = "SP303"
	codeUnknownOpinion    Code = "SP304"
	codeNotUser           Code = "SP310"
	codeNotListed         Code = "SP311"
	codeExcluded          Code = "SP312"
	codeOtherHead         Code = "SP313"
	codeNoWrite           Code = "SP314"
	codeTooOld            Code = "SP315"
	codeOtherAccount      Code = "SP316"
	codeMembershipUnknown Code = "SP317"
	codeWriteUnknown      Code = "SP318"
	codeUnresolved        Code = "SP320"
	codeStands            Code = "SP321"
	codeTimeUnknown       Code = "SP322"
	codeNobodyListed      Code = "SP323"
	codeOtherBase         Code = "SP324"
	codeAskedAtDeployment Code = "SP330"
	codeStatedWrite       Code = "SP390"
	codeStatedName        Code = "SP391"

	codeCheckMissing          Code = "SP401"
	codeCheckRed              Code = "SP402"
	codeCheckPending          Code = "SP403"
	codeCheckSource           Code = "SP404"
	codeCheckWorkflowEdited   Code = "SP405"
	codeCheckWorkflow         Code = "SP406"
	codeRequiredUnknown       Code = "SP407"
	codeNoneRequired          Code = "SP408"
	codeChecksUnknown         Code = "SP409"
	codeChecksGreen           Code = "SP410"
	codeCheckOwnApp           Code = "SP411"
	codeCheckWorkflowApproved Code = "SP412"
	codeStatedCheck           Code = "SP490"

	codeAutoEnvironment   Code = "SP501"
	codeHumanEnvironment  Code = "SP502"
	codeUncovered         Code = "SP503"
	codeRefNotAllowed     Code = "SP504"
	codeNotOnBranch       Code = "SP505"
	codeEventNotAllowed   Code = "SP506"
	codeBranchesUnknown   Code = "SP507"
	codeInputsUnknown     Code = "SP508"
	codeDeploymentUnknown Code = "SP509"
	codeRangeFirst        Code = "SP510"
	codeRangeUnknown      Code = "SP511"
	codeRangeIncomplete   Code = "SP512"
	codeRollback          Code = "SP513"
	codeDiverged          Code = "SP514"
	codeCommitUnapproved  Code = "SP515"
	codeCommitDirect      Code = "SP516"
	codeCommitNotPassed   Code = "SP517"
	codeNothingNew        Code = "SP518"
	codeDeployMissing     Code = "SP520"
	codeApprovalOther     Code = "SP521"
	codeUnconfirmed       Code = "SP522"
	codeWayNotAccepted    Code = "SP523"
	codeNoPasskey         Code = "SP524"
	codeRejected          Code = "SP525"
	codeObjection         Code = "SP526"
	codeDeployApproved    Code = "SP527"
	codeMergesApproved    Code = "SP528"
	codeStatement         Code = "SP529"
	codeStatementsUnread  Code = "SP530"
	codeStartedPast       Code = "SP540"
	codeUnreleased        Code = "SP541"
	codeRuleMissing       Code = "SP542"
	codeRewritten         Code = "SP543"
	codeOutOfReach        Code = "SP544"

	codeLeaseAllowed          Code = "SP600"
	codeCredentialUnknown     Code = "SP601"
	codeTokenUnverified       Code = "SP602"
	codeNotInstalled          Code = "SP603"
	codeClaimMissing          Code = "SP604"
	codeTargetUnknown         Code = "SP605"
	codeTargetRepository      Code = "SP606"
	codeTargetEnvironment     Code = "SP607"
	codeClaimEnvironment      Code = "SP608"
	codeClaimWorkflow         Code = "SP609"
	codeClaimWorkflowSHA      Code = "SP610"
	codeClaimEvent            Code = "SP611"
	codeClaimRunner           Code = "SP612"
	codeJobNotRunning         Code = "SP613"
	codeGrantMissing          Code = "SP614"
	codeGrantOther            Code = "SP615"
	codeGrantFell             Code = "SP616"
	codeGrantNotHuman         Code = "SP617"
	codeGrantTooOld           Code = "SP618"
	codeAlreadyGiven          Code = "SP619"
	codeCapability            Code = "SP620"
	codeUnattended            Code = "SP621"
	codeCredentialEnvironment Code = "SP622"
	codeClaimRef              Code = "SP623"
	codeClaimBranch           Code = "SP624"
	codeAskedTwice            Code = "SP630"
	codeNotEnded              Code = "SP631"
	codeWithdrawn             Code = "SP632"
	codePersonLeaseAllowed    Code = "SP640"
	codePersonUnverified      Code = "SP641"
	codePersonNotUser         Code = "SP642"
	codePersonNoWrite         Code = "SP643"
	codePersonTarget          Code = "SP644"
	codePersonTier            Code = "SP645"
	codePersonGate            Code = "SP646"
	codePersonUnattended      Code = "SP647"
	codePersonTooMany         Code = "SP648"
	codePersonWorkflow        Code = "SP649"
)

// codes says what each code means. The table is constant.
var codes = map[Code]codeInfo{
	codePolicyUnread:      {name: "policy-unread", format: "the policy could not be read: %s", meaning: "Sallyport could not read the repository's policy or the organisation's floor, so it lets nothing through.", remedy: "Try again; if it stays, check that the App may read the repository's contents."},
	codePolicyInvalid:     {name: "policy-invalid", format: "the policy has errors: %s", meaning: "The policy file was read and is not valid.", remedy: "Run `sallyport policy lint` and mend what it names."},
	codePolicyNotAdopted:  {name: "policy-not-adopted", format: "the policy has not been adopted", meaning: "There is a policy, but no administrator brought it into force.", remedy: "An administrator runs `sallyport-app adopt OWNER/REPO`, or uses the dashboard."},
	codePolicyDeleted:     {name: "policy-deleted", format: "the policy was in force and has been deleted", meaning: "A policy that was adopted is gone. Without one, everything is denied.", remedy: "Restore the file, or have an administrator adopt a new one."},
	codePolicyNone:        {name: "policy-none", format: "there is no policy", meaning: "The repository has no policy.", remedy: "Run `sallyport init`, commit the file, and have an administrator adopt it."},
	codePolicyUngated:     {name: "policy-ungated", format: "a change of the policy did not pass the merge door, so the version before it stays in force", meaning: "The policy was changed by a push, or by a pull request that did not pass under the version in force.", remedy: "Bring the change by a pull request that the required reviewers approve, or have an administrator adopt it."},
	codePolicyRewritten:   {name: "policy-rewritten", format: "the policy's history was rewritten, so the version before stays in force", meaning: "The commit that holds the policy does not descend from the one in force, as after a force push.", remedy: "Find out who rewrote the branch. Bring the change by a pull request, or have an administrator adopt it."},
	codePolicyOtherBranch: {name: "policy-other-branch", format: "the default branch was changed, so the version before stays in force", meaning: "The policy was found on a default branch other than the one that the version in force came from.", remedy: "An administrator adopts the policy of the new default branch."},
	codeObserve:           {name: "observe", format: "the policy only observes: this decision is said and not acted upon", meaning: "The policy has `mode: observe`.", remedy: "Change it to `mode: enforce` when you trust the decisions."},
	codeFilesUnknown:      {name: "files-unknown", format: "the changed files are not known", meaning: "The list of changed files is missing from the facts.", remedy: "Try again; in a record for `classify`, give `files` and `files_complete`."},
	codeFilesIncomplete:   {name: "files-incomplete", format: "the list of changed files is not complete, so the change counts as touching everything", meaning: "GitHub lists at most 3,000 files of a pull request; what is not listed could be anything.", remedy: "Split the change, or have the reviewers of every environment approve it."},
	codeCommitsIncomplete: {name: "commits-incomplete", format: "the list of commits is not complete, so it is not known who wrote the change", meaning: "Without all commits, an approver could be one of the authors.", remedy: "Split the change. In a shallow clone, run `git fetch --unshallow`."},
	codeHeadUnknown:       {name: "head-unknown", format: "the head commit is not known", meaning: "An approval counts only at the head, so the head must be known.", remedy: "Try again; in a record for `classify`, give `head.sha`."},
	codeNothingChanged:    {name: "nothing-changed", format: "no file is changed", meaning: "There is nothing to approve yet.", remedy: "Push a commit.", resolvesItself: true},
	codeDraft:             {name: "draft", format: "it is a draft", meaning: "Drafts are judged and shown, never approved.", remedy: "Mark the pull request ready for review.", resolvesItself: true},
	codeDraftUnknown:      {name: "draft-unknown", format: "it is not known whether it is a draft", meaning: "An unknown draft state counts as a draft.", remedy: "In a record for `classify`, give `draft`."},
	codeReviewsUnknown:    {name: "reviews-unknown", format: "the reviews are not known", meaning: "Somebody may have asked for changes.", remedy: "Try again; in a record for `classify`, give `reviews` (an empty list says that there are none)."},
	codeLocal:             {name: "local", format: "there is no pull request yet, so its author, pushers, reviews and checks are not known", meaning: "`sallyport check` judges a branch before there is a pull request.", remedy: "Open a pull request; the App judges again with all facts.", resolvesItself: true},

	codeHumanPath:     {name: "human-path", format: "%s is in %s, which asks a human (%s)", meaning: "A changed path belongs to an environment with `gate: human`.", remedy: "Have its reviewers approve, or leave the path out of this change."},
	codeUnnamedPath:   {name: "unnamed-path", format: "no environment names %s, so every human one asks", meaning: "What no environment names counts as production.", remedy: "Add the path to an environment in the policy if it belongs to dev or staging; else have the reviewers approve."},
	codeProtectedPath: {name: "protected-path", format: "%s is protected (%s)", meaning: "The gate's own files, workflows and what steers agents always get the strictest treatment.", remedy: "Have the reviewers of every human environment approve, or leave the path out."},
	codeOddPath:       {name: "odd-path", format: "%s is no plain path: %s", meaning: "A path with a backslash, a control character, a `..` segment, an unusual Unicode form or the like could be taken for another.", remedy: "Rename the file."},
	codeSpecialMode:   {name: "special-mode", format: "%s is a %s", meaning: "A symlink or a submodule can bring anything from anywhere.", remedy: "Have the reviewers of every human environment approve, or leave it out."},
	codeModeUnknown:   {name: "mode-unknown", format: "the file mode of %s is not known", meaning: "Before an automatic approval it must be known that no changed path is a symlink or a submodule.", remedy: "In a record for `classify`, give `mode` for every file; the App reads the head's tree."},
	codeLookalikePath: {name: "lookalike-path", format: "%s differs from %s only by case or Unicode form", meaning: "On some file systems the two are one file, so the path gets the stricter treatment.", remedy: "Rename the file."},
	codeRenameUnknown: {name: "rename-unknown", format: "it is not known where %s was moved from", meaning: "A rename counts under both names; the old one is missing.", remedy: "In a record for `classify`, give `previous_path`."},
	codeAutoPath:      {name: "auto-path", format: "%s in %s, which asks no human for an agent's change", meaning: "Changed paths belong to environments with `gate: auto` only.", remedy: "Nothing to do."},
	codeAlsoPath:      {name: "also-path", format: "%s matches %s, for which %s must approve too", meaning: "The environment's `also` names further reviewers for such paths.", remedy: "Have one of them approve."},

	codeAgentAccount:    {name: "agent-account", format: "%s wrote it, known by its own account", meaning: "The pull request was opened and pushed by an account that only the agent controls.", remedy: "Nothing to do."},
	codeAgentText:       {name: "agent-text", format: "%s is named as its author, but not by an account that it alone controls: %s", meaning: "Anyone can type a trailer, a branch name or a marker, so text alone earns no automatic approval.", remedy: "Let the agent's own App open and push the pull request; or have a human approve; or set `agents: {text: approve}` if merging without human review is what you want."},
	codeMixed:           {name: "mixed", format: "%s wrote some of the commits and others did not come from an agent", meaning: "Commits by people or automation in an agent's change end its automatic approval.", remedy: "Have a human approve, or move the other commits to a change of their own, or set `agents: {mixed: approve}`."},
	codeHuman:           {name: "human", format: "a human wrote it", meaning: "Only agents' changes are approved automatically; a person's change is approved by another person.", remedy: "Have a reviewer approve."},
	codeAutomation:      {name: "automation", format: "%s wrote it, which is automation and no agent", meaning: "Only agents' changes are approved automatically.", remedy: "Have a reviewer approve, or, for a bot that the catalogue does not know, list the account under `agents: also`."},
	codeFork:            {name: "fork", format: "its head is in another repository (%s)", meaning: "Changes from forks are never approved automatically.", remedy: "Have a reviewer approve, or push the branch to this repository."},
	codeHeadRepoUnknown: {name: "head-repository-unknown", format: "it is not known which repository its head is in", meaning: "It could be a fork.", remedy: "In a record for `classify`, give `repository.id` and `head.repository.id`."},
	codeTextApproved:    {name: "text-approved", format: "%s is known by text only, which this policy accepts", meaning: "The policy has `agents: {text: approve}`: a trailer, branch or marker that anyone can type lets changes in without human review.", remedy: "Nothing to do; to be safer, remove the setting."},
	codeBaseUnguarded:   {name: "base-unguarded", format: "the base branch is not known to require the sallyport check from this App or to dismiss stale reviews, so the check says it and no review is given", meaning: "An APPROVE review on an unguarded branch would outlive a later push.", remedy: "Require the `sallyport` check with this App as its source in branch protection or a ruleset, or turn on dismissal of stale reviews."},
	codeBaseUnreviewed:  {name: "base-unreviewed", format: "no ruleset of the base branch requires an approving review and dismisses stale ones: a commit that is green for another branch can be merged here before it is judged for this one", meaning: "A check belongs to a commit, whatever branch its pull request is for; a review belongs to one pull request.", remedy: "Require one approval and the dismissal of stale ones in the ruleset that requires the check: Sallyport approves what it lets through by itself. A merge queue does as well."},
	codeAssisted:        {name: "assisted", format: "%s helped", meaning: "An `Assisted-by` line or an accepted suggestion shows help by an agent; a person is the author.", remedy: "Nothing to do."},
	codeMixedApproved:   {name: "mixed-approved", format: "%s wrote some of the commits and others did not come from an agent, which this policy accepts", meaning: "The policy has `agents: {mixed: approve}`.", remedy: "Nothing to do; to be safer, remove the setting."},

	codeApprovalMissing:   {name: "approval-missing", format: "%s needs %s from %s at the merge; %s", meaning: "The listed reviewers have not approved the head yet.", remedy: "Have one of the listed reviewers approve the pull request at its present head."},
	codeApproved:          {name: "approved", format: "%s has what it needs: approved by %s", meaning: "Enough listed reviewers approved the head.", remedy: "Nothing to do."},
	codeChangesRequested:  {name: "changes-requested", format: "%s asked for changes", meaning: "A listed reviewer's request for changes blocks until that person approves or it is dismissed.", remedy: "Do what was asked and have the same person review again."},
	codeUnknownOpinion:    {name: "unknown-opinion", format: "%s has left a review whose state %s is not known", meaning: "An unknown review state counts as a request for changes.", remedy: "Have the same person review again."},
	codeNotUser:           {name: "not-user", format: "the approval of %s does not count: it is not by a person's account", meaning: "Bots and Apps never approve for a human.", remedy: "Have a person approve."},
	codeNotListed:         {name: "not-listed", format: "the approval of %s does not count: not among the reviewers asked", meaning: "Only the listed reviewers count.", remedy: "Have a listed reviewer approve."},
	codeExcluded:          {name: "excluded", format: "the approval of %s does not count: they are %s", meaning: "Who had a hand in a change does not approve it.", remedy: "Have another listed reviewer approve."},
	codeOtherHead:         {name: "other-head", format: "the approval of %s does not count: it was given at %s, not at the head", meaning: "An approval is for exactly what was seen. Later pushes need it again.", remedy: "Have the reviewer look at the new commits and approve again."},
	codeNoWrite:           {name: "no-write", format: "the approval of %s does not count: they have no write access", meaning: "A reviewer must have write access to the repository now.", remedy: "Give them access, or have another listed reviewer approve."},
	codeTooOld:            {name: "too-old", format: "the approval of %s does not count: it is older than %s", meaning: "The policy's `max_age` has passed.", remedy: "Have the reviewer approve again."},
	codeOtherAccount:      {name: "other-account", format: "the approval of %s does not count: that name belonged to another account when the policy came into force", meaning: "Names were pinned to ids. Somebody may have taken a name that was given up.", remedy: "If the person really has a new account, an administrator runs `sallyport-app adopt OWNER/REPO`, which pins the new id. If they only have a new name, nothing is to be done: they approve under that."},
	codeMembershipUnknown: {name: "membership-unknown", format: "the approval of %s does not count: it is not known whether they are among the reviewers asked", meaning: "A team's membership, or who is behind a name, could not be read.", remedy: "Try again; check that the App may read members. `classify` and `policy test` cannot see teams."},
	codeWriteUnknown:      {name: "write-unknown", format: "the approval of %s does not count: it is not known whether they have write access", meaning: "Access is asked afresh whenever an approval would open something, and the answer is missing.", remedy: "Try again."},
	codeUnresolved:        {name: "unresolved", format: "%s could not be matched to an account, so %s", meaning: "Somebody who had a hand in the change could be one of its approvers; each such address asks for one approval more, two at most.", remedy: "Commit with an address that is linked to a GitHub account."},
	codeStands:            {name: "stands", format: "the approval of %s at %s stands: only the base was merged since", meaning: "All commits since are merges of the base, signed by GitHub, that leave the changed files as they were.", remedy: "Nothing to do."},
	codeTimeUnknown:       {name: "time-unknown", format: "the approval of %s does not count: its age is not known", meaning: "The policy limits the age of approvals, and a time is missing or lies in the future.", remedy: "In a record for `classify`, give `now` and `submitted_at`."},
	codeNobodyListed:      {name: "nobody-listed", format: "%s lists nobody who could approve", meaning: "The policy names no reviewers for this.", remedy: "Add `reviewers` to the policy."},
	codeOtherBase:         {name: "other-base", format: "the approval of %s does not count: the base branch was changed since", meaning: "The same head brings other changes into another branch. An approval is for exactly what was seen.", remedy: "Have the reviewer look at the changes against the base branch as it is now, and approve again."},
	codeAskedAtDeployment: {name: "asked-at-deployment", format: "%s asks at the deployment, not at the merge", meaning: "The environment's `steps` has no `merge`.", remedy: "Nothing to do now; the deployment will be held."},
	codeStatedWrite:       {name: "stated-write", format: "that %s has write access is taken from the record; the App asks GitHub", meaning: "`classify` and `policy test` judge what a record states.", remedy: "Nothing to do."},
	codeStatedName:        {name: "stated-name", format: "that %s is the person the policy means is taken from the name; the App compares ids", meaning: "`classify` and `policy test` judge what a record states.", remedy: "Nothing to do."},

	codeCheckMissing:          {name: "check-missing", format: "the check %s has not reported from a source that counts", meaning: "A check that must be green is not there yet.", remedy: "Wait for it; if it never comes, see that its workflow runs for this branch.", resolvesItself: true},
	codeCheckRed:              {name: "check-red", format: "the check %s ended as %s", meaning: "A check that must be green is not.", remedy: "Mend what it found and push.", resolvesItself: true},
	codeCheckPending:          {name: "check-pending", format: "the check %s is still running", meaning: "A check that must be green has not ended.", remedy: "Wait for it.", resolvesItself: true},
	codeCheckSource:           {name: "check-source", format: "a check named %s does not count: it comes from %s, not from %s", meaning: "Any workflow or App can post a check of any name; only the expected source counts.", remedy: "Name the App in the policy (`after: [{name: …, app: …}]`) if it is the right one."},
	codeCheckWorkflowEdited:   {name: "check-workflow-edited", format: "the check %s does not count: this change edits its workflow %s", meaning: "A change could make its own check green.", remedy: "Have every reviewer asked approve: then the check counts."},
	codeCheckWorkflow:         {name: "check-workflow-unknown", format: "the check %s does not count: it is not known to be a job of a workflow run at this head", meaning: "Only a job that GitHub's jobs API shows at this head counts; anything else could be forged by a workflow with `checks: write`.", remedy: "See that the check is a job of a workflow in this repository.", resolvesItself: true},
	codeRequiredUnknown:       {name: "required-unknown", format: "%s names no checks, and which ones the base branch requires is not known", meaning: "Without `after`, the checks that branch protection requires must be green, and they could not be read.", remedy: "Add `after` to the environment in the policy."},
	codeNoneRequired:          {name: "none-required", format: "no check is required", meaning: "Neither the policy nor the base branch requires any check from a pinned source, so nothing vouches for an agent's change.", remedy: "Add `after` to the environment in the policy, or require a check with a pinned source."},
	codeChecksUnknown:         {name: "checks-unknown", format: "the checks are not known", meaning: "The checks could not be read.", remedy: "Try again; in a record for `classify`, give `checks`."},
	codeChecksGreen:           {name: "checks-green", format: "its checks are green: %s", meaning: "All checks that must be green are.", remedy: "Nothing to do."},
	codeCheckOwnApp:           {name: "check-own-app", format: "the check %s does not count: it comes from an agent's own App (%s)", meaning: "An agent does not vouch for itself.", remedy: "Use a check from another App."},
	codeCheckWorkflowApproved: {name: "check-workflow-approved", format: "the check %s comes from a workflow that this change edits (%s), which the reviewers have approved", meaning: "The check runs what the change itself wrote; everybody who has to approve the change has done so.", remedy: "Nothing to do."},
	codeStatedCheck:           {name: "stated-check", format: "that the check %s is a job of an unchanged workflow is taken from the record; the App asks GitHub", meaning: "`classify` and `policy test` judge what a record states.", remedy: "Nothing to do."},

	codeAutoEnvironment:   {name: "auto-environment", format: "%s is covered by %s, which asks no human", meaning: "The deployment goes to an environment with `gate: auto` only.", remedy: "Nothing to do."},
	codeHumanEnvironment:  {name: "human-environment", format: "%s is covered by %s, which asks a human", meaning: "The deployment goes to an environment with `gate: human`.", remedy: "Have its reviewers approve this deployment."},
	codeUncovered:         {name: "uncovered", format: "no environment of the policy covers %s, so every human one asks", meaning: "A GitHub environment that the policy does not name gets the strictest treatment.", remedy: "Add it to `deployments` of an environment in the policy."},
	codeRefNotAllowed:     {name: "ref-not-allowed", format: "%s %s may not deploy to %s", meaning: "The run's ref is none of the environment's `branches` or `tags`. It cannot become right.", remedy: "Deploy from a branch or tag that the policy names."},
	codeNotOnBranch:       {name: "not-on-branch", format: "%s is on none of the branches that may deploy to %s", meaning: "The deployed commit is not on a branch that the policy names.", remedy: "Merge the commit first."},
	codeEventNotAllowed:   {name: "event-not-allowed", format: "a run started by %s may not deploy to %s", meaning: "The run's event is none of the environment's `events`.", remedy: "Deploy by an event that the policy names, or add it there."},
	codeBranchesUnknown:   {name: "branches-unknown", format: "it is not known which branches %s is on", meaning: "Whether the commit may deploy could not be found out.", remedy: "Try again."},
	codeInputsUnknown:     {name: "inputs-unknown", format: "the inputs of the run are not known", meaning: "A dispatched run does what its inputs say, and an approver must see them. GitHub tells them in an event alone, which names no run: two runs of one workflow by one person at the same time cannot be told apart.", remedy: "See that the App gets the event workflow_dispatch, and start the run again, alone."},
	codeDeploymentUnknown: {name: "deployment-unknown", format: "the deployment's %s is not known", meaning: "An approval binds to environment, commit, run and attempt; all must be known.", remedy: "Try again."},
	codeRangeFirst:        {name: "range-first", format: "nothing has been released here before, so everything is held and the first approval sets the baseline", meaning: "There is no earlier deployment that was released by Sallyport and whose job succeeded.", remedy: "Have a reviewer approve this deployment."},
	codeRangeUnknown:      {name: "range-unknown", format: "what the deployment brings is not known", meaning: "The commits since the last release could not be read.", remedy: "Try again."},
	codeRangeIncomplete:   {name: "range-incomplete", format: "the list of what the deployment brings is not complete", meaning: "Not all commits since the last release could be read.", remedy: "Try again; deploy in smaller steps."},
	codeRollback:          {name: "rollback", format: "it is a rollback: %s is behind what was released last", meaning: "An older commit would be deployed.", remedy: "Have a reviewer approve this deployment if that is meant."},
	codeDiverged:          {name: "diverged", format: "history was rewritten: %s does not descend from what was released last", meaning: "The deployed commit and the last released one have gone different ways.", remedy: "Find out why before anyone approves."},
	codeCommitUnapproved:  {name: "commit-unapproved", format: "%s came by pull request #%s, which no listed human approved", meaning: "The change was approved automatically, so a human must see it now.", remedy: "Have a reviewer approve this deployment."},
	codeCommitDirect:      {name: "commit-direct", format: "%s came without a pull request", meaning: "A direct or administrator's push, or a merge made elsewhere.", remedy: "Have a reviewer look at the commit and approve this deployment."},
	codeCommitNotPassed:   {name: "commit-not-passed", format: "%s came by pull request #%s, which is not known to have passed the merge door", meaning: "The pull request was merged past the gate.", remedy: "Have a reviewer look at the commit and approve this deployment."},
	codeNothingNew:        {name: "nothing-new", format: "it brings nothing that was not released before", meaning: "The same commit was released here last.", remedy: "Nothing to do."},
	codeDeployMissing:     {name: "deploy-approval-missing", format: "%s needs %s of this deployment from %s; %s", meaning: "The listed reviewers have not approved exactly this deployment.", remedy: "Have one of the listed reviewers approve it on its check or on the dashboard."},
	codeApprovalOther:     {name: "approval-other", format: "the approval of %s does not count: it was for another %s", meaning: "An approval is for one environment, commit, run, attempt and set of inputs.", remedy: "Have the reviewer approve this deployment."},
	codeUnconfirmed:       {name: "unconfirmed", format: "the approval of %s does not count: GitHub has not confirmed it", meaning: "A webhook alone opens nothing; GitHub's own record of the delivery must show the same act.", remedy: "Wait a moment; it is asked again."},
	codeWayNotAccepted:    {name: "way-not-accepted", format: "the approval of %s does not count: the policy does not accept a %s here", meaning: "The environment's `accept` does not name that way of approving.", remedy: "Approve in a way that the policy accepts."},
	codeNoPasskey:         {name: "no-passkey", format: "the approval of %s does not count: no passkey was shown", meaning: "The environment has `presence: passkey`.", remedy: "Approve on the dashboard with a device-bound passkey."},
	codeRejected:          {name: "rejected", format: "%s rejected it", meaning: "A listed reviewer or a maintainer rejected this deployment.", remedy: "Start a new run when what they objected to is mended."},
	codeObjection:         {name: "objection", format: "%s objects; a listed reviewer has to decide", meaning: "Somebody who is not a listed reviewer rejected the deployment.", remedy: "Have a listed reviewer approve or reject it."},
	codeDeployApproved:    {name: "deploy-approved", format: "%s has what it needs: this deployment is approved by %s", meaning: "Enough listed reviewers approved exactly this deployment.", remedy: "Nothing to do."},
	codeMergesApproved:    {name: "merges-approved", format: "listed humans approved every commit it brings when it was merged", meaning: "The environment asks at the merge only, and everything passed there.", remedy: "Nothing to do."},
	codeStatement:         {name: "statement", format: "%s line %s %s", meaning: "A statement of a migration that loses data, locks or rewrites a table, or hides what it does.", remedy: "Read it before you approve."},
	codeStatementsUnread:  {name: "statements-unread", format: "what %s does to a database is not known: %s", meaning: "A migration could not be read as SQL, so nothing in it was pointed out.", remedy: "Read the whole file before you approve."},
	codeStartedPast:       {name: "started-past", format: "a job of %s started although nothing released it; the run was last started by %s", meaning: "The job was held, and somebody started it past the rule: an administrator can, unless the environment forbids it.", remedy: "Find out who did. Turn off \"Allow administrators to bypass configured protection rules\" on the environment."},
	codeUnreleased:        {name: "completed-unreleased", format: "a job of %s ended as %s although nothing released it; the run was last started by %s", meaning: "A job of a gated environment ran without any gate's release: the rule is not enabled there, or the job does not begin with the gate.", remedy: "Enable the rule on the environment, or make the gate the first step of the job."},
	codeRuleMissing:       {name: "rule-missing", format: "the environment %s is gated by the policy, and Sallyport is not enabled as its protection rule", meaning: "A job that names the environment starts without being held.", remedy: "Enable the rule in the environment's settings. Where the plan has none, the action's gate holds the job."},
	codeRewritten:         {name: "rewritten", format: "history was rewritten under a held deployment to %s: %s is on the branch no more", meaning: "The commit was on a branch that may deploy when it was held, and is not now.", remedy: "Find out who rewrote the branch. The deployment cannot be approved any more."},
	codeOutOfReach:        {name: "out-of-reach", format: "a deployment to %s waits for Sallyport, which can reach the repository no more", meaning: "The App was uninstalled or suspended, or the repository taken from it, while a job was held. Nobody answers the rule.", remedy: "Install the App again, or cancel the run."},

	codeLeaseAllowed:          {name: "lease-allowed", format: "the credential %s may be given to this job", meaning: "Everything that binds the credential to an approved job holds.", remedy: "Nothing to do."},
	codeCredentialUnknown:     {name: "credential-unknown", format: "the policy names no credential %s", meaning: "A credential that the policy does not name is refused.", remedy: "Add it to `credentials` in the policy by a pull request."},
	codeTokenUnverified:       {name: "token-unverified", format: "the job's token is not verified", meaning: "The OIDC token's signature, issuer, audience or times did not hold.", remedy: "Ask with a token of this job, for the audience that the server names, not older than a few minutes."},
	codeNotInstalled:          {name: "not-installed", format: "the App is not installed on this repository, or not for it", meaning: "A token from a repository without an allowed installation opens nothing.", remedy: "Install the App on the repository and allow the installation on the server."},
	codeClaimMissing:          {name: "claim-missing", format: "the token has no claim %s", meaning: "A claim that a lease is bound to is missing.", remedy: "Name the environment in the job; on an older GitHub Enterprise Server some claims do not exist."},
	codeTargetUnknown:         {name: "target-unknown", format: "the server declares no target for the credential %s", meaning: "What credentials open is declared on the server only.", remedy: "An operator adds the target to the server's targets file."},
	codeTargetRepository:      {name: "target-repository", format: "claim repository_id is not one that the credential's target is declared for", meaning: "The server binds each target to repository ids.", remedy: "An operator adds the repository's id to the target."},
	codeTargetEnvironment:     {name: "target-environment", format: "claim environment is %s, for which the credential's target is not declared", meaning: "The server binds each target to GitHub environments.", remedy: "Use the right environment in the job, or have an operator add it to the target."},
	codeClaimEnvironment:      {name: "claim-environment", format: "claim environment is %s, which the credential's environment %s does not cover", meaning: "The job runs in another environment than the credential belongs to.", remedy: "Name the right environment in the job."},
	codeClaimWorkflow:         {name: "claim-workflow", format: "claim job_workflow_ref is %s, not the credential's workflow %s of this repository", meaning: "Only the workflow that the policy names may ask.", remedy: "Ask from that workflow."},
	codeClaimWorkflowSHA:      {name: "claim-workflow-sha", format: "claim job_workflow_sha is %s, not the approved %s", meaning: "The workflow file is not the one that was approved.", remedy: "Deploy the approved commit."},
	codeClaimEvent:            {name: "claim-event", format: "claim event_name is %s, which may not have this credential", meaning: "Runs that a pull request or a comment starts never reach production.", remedy: "Deploy by an event that the policy names."},
	codeClaimRunner:           {name: "claim-runner", format: "claim runner_environment is %s, which the target does not allow", meaning: "A self-hosted runner may keep what it sees.", remedy: "Run on a GitHub-hosted runner, or have an operator allow it for the target."},
	codeJobNotRunning:         {name: "job-not-running", format: "claim %s is of no job that GitHub shows in progress", meaning: "The token's run, attempt and job are not one that runs now in that environment.", remedy: "Ask from the running job itself."},
	codeGrantMissing:          {name: "grant-missing", format: "nothing has released this job", meaning: "There is no grant for the run.", remedy: "Wait for the approval of the deployment."},
	codeGrantOther:            {name: "grant-other", format: "claim %s differs from what was released", meaning: "A grant is for one repository, environment, commit, run, attempt and job.", remedy: "Have this deployment approved."},
	codeGrantFell:             {name: "grant-fell", format: "the release no longer holds", meaning: "An approval was withdrawn, or an approver is no longer what they were.", remedy: "Have the deployment approved again."},
	codeGrantNotHuman:         {name: "grant-not-human", format: "no human released this job, and the credential needs one", meaning: "The environment or the target asks a human.", remedy: "Have the deployment approved."},
	codeGrantTooOld:           {name: "grant-too-old", format: "the release is older than %s, or its time is not known", meaning: "The environment's `max_age` has passed.", remedy: "Have the deployment approved again."},
	codeAlreadyGiven:          {name: "already-given", format: "this credential was given to this job before", meaning: "Each credential is given once. Somebody else asked with the job's token.", remedy: "Treat it as an incident: the first lease is revoked."},
	codeCapability:            {name: "capability", format: "the target has nothing for the capability %s", meaning: "The target does not offer what the credential asks.", remedy: "An operator adds it to the target, or the policy asks for less."},
	codeUnattended:            {name: "unattended", format: "the credential %s may not be had without a human", meaning: "Only read access to targets marked for it is given to unattended tasks, by a credential that names its workflow.", remedy: "Use a credential that the policy and the target both mark as unattended, with `workflow`."},
	codeCredentialEnvironment: {name: "credential-environment", format: "the credential's environment %s is not in the policy", meaning: "The policy was changed under the request.", remedy: "Try again."},
	codeClaimRef:              {name: "claim-ref", format: "claim ref is %s, which is not the branch or tag that GitHub shows for the run", meaning: "A job gets credentials on a branch or a tag. The ref that a pull request's event runs on is neither.", remedy: "Ask from a run on a branch or a tag, started by push, release or workflow_dispatch."},
	codeClaimBranch:           {name: "claim-branch", format: "claim ref is %s, which is not the default branch: what reads production without a human runs there alone", meaning: "On another branch the workflow's file is whatever was pushed. On the default branch it passed the merge door.", remedy: "Start the task's workflow on the default branch, such as by workflow_dispatch."},
	codeAskedTwice:            {name: "asked-twice", format: "the credential %s of a job of %s was asked for twice, so what was given first is revoked", meaning: "Each credential is given to a job once. One of the two who asked was not the deploy step.", remedy: "Treat it as an incident: find out what else in that job could read its token."},
	codeNotEnded:              {name: "not-ended", format: "a credential for %s given to a job of %s could not be revoked: %s", meaning: "What a lease made may still be alive after its time.", remedy: "End it by hand where it was made, and see that the server reaches the target; it goes on trying."},
	codeWithdrawn:             {name: "withdrawn", format: "the credential %s of a job of %s is revoked, since its release holds no more", meaning: "While the job had the credential somebody rejected the deployment, an approver lost what made their approval count, or the policy changed.", remedy: "See what the job did with it until then; have the deployment approved again if it is wanted."},
	codePersonLeaseAllowed:    {name: "person-lease-allowed", format: "the credential %s may be given to %s", meaning: "It is of an automatic target, and the person may write to the repository.", remedy: "Nothing to do."},
	codePersonUnverified:      {name: "person-unverified", format: "it is not verified who asks", meaning: "GitHub did not say that the token is one which this App was given by a person.", remedy: "Run `sallyport login`."},
	codePersonNotUser:         {name: "person-not-user", format: "%s is no person's account", meaning: "Bots and organisations get no credentials outside a job.", remedy: "Ask from a job, or log in as a person."},
	codePersonNoWrite:         {name: "person-no-write", format: "%s is not known to be able to write to this repository now", meaning: "Outside a job, a credential is for those who may write to the repository. GitHub is asked each time.", remedy: "Ask an administrator of the repository for access."},
	codePersonTarget:          {name: "person-target", format: "the target of the credential %s is not declared for this repository and environment", meaning: "The server binds each target to repository ids and environments.", remedy: "An operator adds them to the target."},
	codePersonTier:            {name: "person-tier", format: "the credential %s is given to released pipeline jobs alone", meaning: "The server declares its target as `tier: human`. Nothing but a pipeline job gets it, whatever a policy says.", remedy: "Deploy by a pipeline job."},
	codePersonGate:            {name: "person-gate", format: "the environment %s asks a human, so its credentials are given to pipeline jobs alone", meaning: "The policy, or the organisation's floor, gates the credential's environment or does not name it.", remedy: "Deploy by a pipeline job, or use a credential of an environment with `gate: auto`."},
	codePersonUnattended:      {name: "person-unattended", format: "the credential %s is for unattended tasks of a workflow alone", meaning: "A reader of production that needs no human is given in a protected workflow, where each lease belongs to a task.", remedy: "Run the task in its workflow."},
	codePersonTooMany:         {name: "person-too-many", format: "%s has too many credentials that have not ended", meaning: "A person has five at once at most. One that cannot be revoked counts until it expires.", remedy: "End one, or wait for its deadline."},
	codePersonWorkflow:        {name: "person-workflow", format: "the credential %s is for the workflow %s alone", meaning: "The policy names the workflow whose jobs may ask for the credential.", remedy: "Ask from that workflow, or have a credential without `workflow` added to the policy."},
}

// ReasonInfo is what the documentation says of a code.
type ReasonInfo struct {
	Code Code
	// Name is a short stable name for people.
	Name string
	// Sentence is the reason's text with its blanks.
	Sentence string
	// Meaning says what it stands for, Remedy what to do about it.
	Meaning, Remedy string
	// Waits says that it ends without a reviewer's act.
	Waits bool
}

// Reasons lists all codes in order.
func Reasons() []ReasonInfo {
	out := make([]ReasonInfo, 0, len(codes))
	for c, i := range codes {
		out = append(out, ReasonInfo{c, i.name, i.format, i.meaning, i.remedy, i.resolvesItself})
	}
	slices.SortFunc(out, func(a, b ReasonInfo) int { return cmp.Compare(a.Code, b.Code) })
	return out
}
