# Redis.pm: see test_clients.py.
use strict;
use warnings;
use Redis;

my ($path, $good, $none) = @ARGV;
$| = 1;

sub say_step {
    my ($step, @answers) = @_;
    print join(' ', $step, map { @$_ } @answers), "\n";
}

my $redis = Redis->new(sock => $path, name => 'gateway', reconnect => 60, every => 10_000);
print "version $Redis::VERSION\n";
say_step('defaults', map { [$redis->check($_)] } $good, $none);
$redis->multi;
$redis->check($_) for $good, $none;
say_step('transaction', $redis->exec);
my @answers;
$redis->check($_, sub { push @answers, $_[0] }) for $good, $none;
$redis->wait_all_responses;
say_step('pipeline', @answers);
my $other = Redis->new(sock => $path, password => 'any', username => 'default');
say_step('password', map { [$other->check($_)] } $good, $none);
print "ready\n";
<STDIN>;
say_step('again', map { [$redis->check($_)] } $good, $none);
