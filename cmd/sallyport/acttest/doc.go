// Package acttest runs the action, as action.yml has it, on a real runner: nektos/act, in
// host mode, against the in-memory GitHub and the server that people run. It has tests and
// nothing else.
//
// The tests need act (on the PATH, or named by SALLYPORT_ACT), git, bash and curl. What act
// cannot show: it starts no protection rule of an environment, gives every job an OIDC
// token whatever its permissions are, and its --json output has masked values in other
// fields than the message.
package acttest
